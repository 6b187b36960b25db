#include "model/candidates.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "model/fixtures.h"
#include "model/step_decoder.h"
#include "suite_device.h"

namespace chorus {
namespace {

TEST(Candidates, KnowTheirColumns) {
  const auto shared = std::make_shared<const SharedTokens>(SharedTokens{{2, 5, 9}, {}, {}});
  const Candidates some = {shared, {4, 7}}, all = {};
  EXPECT_EQ(some.size(), 5);
  for (const auto& [column, token] : {std::pair(0, 2), {2, 9}, {3, 4}, {4, 7}}) {
    EXPECT_EQ(some.token(column), token);
    EXPECT_EQ(some.column(token), column);
  }
  for (const int32_t token : {0, 3, 8, 10}) EXPECT_FALSE(some.column(token)) << token;
  EXPECT_EQ(all.column(8), 8);
  EXPECT_EQ(all.token(8), 8);
}

/// Logits of candidates are those of all tokens, on the host to the bit, for two lists in one batch, whatever becomes
/// of the sentences.
void expect_columns_of_all(const StepDecoder& decoder) {
  const auto german = decoder.take_tokens({2, 6, 9, 22}), french = decoder.take_tokens({2, 7, 8, 9, 12, 13});
  const std::vector<Candidates> candidates = {
      {german, {4, 7}}, {french, {}}, {german, {}}, {french, {5, 19}}};
  const Side source =
      decoder.make_side({4, 7, 8, 9, 2, 4, 10, 2, 1, 1, 4, 9, 9, 2, 1, 4, 22, 21, 20, 2}, 4, 5);
  const at::Tensor memory = decoder.encode(source);
  const auto full = decoder.start(memory, source.attention_mask, 6, 2),
             some = decoder.start(memory, source.attention_mask, 6, 2, candidates);
  std::vector<size_t> sentences = {0, 1, 2, 3};
  const auto step = [&](const std::vector<int64_t>& ids) {
    const at::Tensor expected = full->step(there(at::tensor(ids))).cpu(),
                     actual = some->step(there(at::tensor(ids))).cpu();
    EXPECT_TRUE(actual.is_contiguous());
    const int64_t width = std::ssize(ids) / std::ssize(sentences);
    for (int64_t row = 0; row < actual.size(0); ++row) {
      const Candidates& of_row = candidates[sentences[row / width]];
      for (int64_t column = 0; column < actual.size(1); ++column) {
        const auto logit = actual[row][column].item<float>();
        if (column < of_row.size())
          EXPECT_NEAR(logit, expected[row][of_row.token(column)].item<float>(),
                      suite_device().is_cpu() ? 0 : 1e-5)
              << row << " " << column;
        else
          EXPECT_EQ(logit, -INFINITY);
      }
    }
  };
  const auto reorder = [&](const std::vector<int64_t>& rows, const std::vector<int64_t>& kept) {
    for (const auto& decoding : {full.get(), some.get()})
      decoding->reorder(there(at::tensor(rows)), there(kept.empty() ? at::Tensor() : at::tensor(kept)));
  };
  step({2, 2, 2, 2});
  reorder({0, 0, 1, 1, 2, 2, 3, 3}, {});
  step({6, 7, 8, 9, 10, 11, 12, 13});
  reorder({3, 2, 4, 5, 6, 6}, {1, 2, 3});
  sentences = {1, 2, 3};
  step({9, 8, 7, 6, 5, 4});
  reorder({5}, {2});
  sentences = {3};
  step({6});
}

std::unique_ptr<Transformer> model_of(const ModelConfig& config, at::ScalarType type, uint64_t seed = 5) {
  auto model =
      std::make_unique<Transformer>(config, Transformer::Options{.device = suite_device(), .compute = type});
  initialise(*model, seed);
  return model;
}

TEST(Candidates, OfEachSentence) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16})
    expect_columns_of_all(*make_step_decoder(*model_of(tiny_config(), type)));
}

TEST(Candidates, OfOtherArchitectures) {
  expect_columns_of_all(*make_step_decoder(*model_of(switch_config(), at::kFloat)));  // by blocks
}

TEST(Candidates, OfAnOutputWithABias) {
  const auto model = model_of(marian_config(), at::kFloat);
  at::Tensor& bias = model->parameters()[model->catalogue().output_bias].value;
  bias.copy_(at::linspace(-1, 2, bias.numel()).view(bias.sizes()));
  expect_columns_of_all(*make_step_decoder(*model));
}

TEST(Candidates, OfQuantizedWeights) {
  if (!suite_device().is_cpu()) GTEST_SKIP() << "a device has no quantized weights";
  for (const Quantization type : {Quantization::int8, Quantization::int4}) {
    const auto model = model_of(tiny_config(), at::kFloat);
    Parameter& embedding = model->parameters()[model->catalogue().embedding];
    const int64_t rows = embedding.value.size(0), depth = embedding.value.size(1);
    embedding.set_quantized(quantize(embedding.value, type), type, rows, depth);
    expect_columns_of_all(*make_step_decoder(*model));
  }
}

TEST(Candidates, OfEnsembles) {
  const auto first = model_of(tiny_config(), at::kFloat), second = model_of(tiny_config(), at::kFloat, 6);
  const auto ensemble = make_step_decoder(std::vector{first.get(), second.get()});
  const auto shared = ensemble->take_tokens({2, 6, 9, 22});
  const Side source = ensemble->make_side({4, 7, 8, 9, 2}, 1, 5);
  const at::Tensor memory = ensemble->encode(source);
  const at::Tensor end = at::full({1}, kEos, there(at::kLong));
  const auto actual = ensemble->start(memory, {}, 2, 1, {{shared, {5}}})->step(end).cpu();
  std::vector<at::Tensor> probabilities;
  for (Transformer* const model : {first.get(), second.get()}) {
    const auto decoder = make_step_decoder(*model);
    const auto all = decoder->start(decoder->encode(source), {}, 2)->step(end).cpu();
    probabilities.push_back(all.index_select(1, at::tensor({2, 6, 9, 22, 5}, at::kLong)).softmax(1));
  }
  EXPECT_TRUE(
      at::allclose(actual.narrow(1, 0, 5), ((probabilities[0] + probabilities[1]) / 2).log(), 1e-4, 1e-5));
}

}  // namespace
}  // namespace chorus
