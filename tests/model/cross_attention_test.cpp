#include <cmath>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include "data/batches.h"
#include "model/fixtures.h"
#include "model/step_decoder.h"
#include "suite_device.h"

#include "model/internal/stacks.h"

namespace chorus {
namespace {

TEST(CrossAttention, IsThatOfThePlainFormula) {
  const ModelConfig config = tiny_config();
  Transformer model(config, {.device = suite_device()}), stripped(config, {.device = suite_device()});
  at::manual_seed(3);
  const LayerIndex& layer = model.catalogue().decoder[0];
  const LinearIndex &out = layer.cross_out, &fc2 = layer.ffn.fc2;
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const at::Tensor value = at::randn(model.catalogue().parameters[i].shape);
    model.set(i, value);
    // Without what follows the self-attention, a layer's output is what its cross-attention reads.
    const bool after = i == out.weight || i == out.bias || i == fc2.weight || i == fc2.bias;
    stripped.set(i, after ? at::zeros_like(value) : value);
  }
  const std::vector<SentencePair> pairs = {
      {.source = {7, 8, 9}, .target = {10, 11}, .source_tag = 4, .target_tag = 5},
      {.source = {12}, .target = {13, 14, 15, 16}, .source_tag = 4, .target_tag = 5}};
  const Batch batch = model.to_batch(make_batch(pairs));
  CrossAttention attention = {.block = layer.block};
  model.evaluate(batch, {.dropless = true, .cross_attention = {&attention, 1}});

  const at::NoGradGuard plain;
  const at::Tensor memory = make_step_decoder(model)->encode(batch.source);
  const Stacks stacks = stripped.stacks();
  const at::Tensor x =
      embed(stacks.weights, stacks.catalogue.embedding, batch.target.ids, stacks.positions, 0, {});
  const at::Tensor y =
      decoder_layer(stacks.weights, layer,
                    {.x = x, .memory = memory, .bias = {}, .target = batch.target, .source = batch.source},
                    {.dropless = true});
  const auto value = [&](size_t i) { return model.parameters()[i].value; };
  const auto projected = [&](const at::Tensor& rows, const LinearIndex& index) {
    return at::linear(rows, value(index.weight).reshape({-1, config.d_model}),
                      value(index.bias).reshape({-1}));
  };
  const int64_t d = config.d_model, heads = config.attention_heads, width = d / heads;
  const at::Tensor read = at::layer_norm(y, {d}, value(layer.cross_norm.weight), value(layer.cross_norm.bias),
                                         config.norm_epsilon);
  const auto by_head = [&](const at::Tensor& rows) {
    return rows.reshape({rows.size(0), rows.size(1), heads, width}).transpose(1, 2);
  };
  const at::Tensor query = by_head(projected(read, layer.cross_q));
  const at::Tensor key = by_head(projected(memory, layer.cross_kv).narrow(2, 0, d));
  const at::Tensor scores = at::matmul(query, key.transpose(2, 3)) / std::sqrt(static_cast<double>(width));
  const at::Tensor expected = at::softmax(scores + batch.source.attention_mask, 3);
  ASSERT_EQ(attention.weights.sizes(), expected.sizes());
  EXPECT_TRUE(at::allclose(attention.weights, expected, 1e-4, 1e-5));
  EXPECT_EQ(attention.weights[1][0][0][3].item<float>(), 0) << "padding";
}

}  // namespace
}  // namespace chorus
