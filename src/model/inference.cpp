#include "chorus/model/inference.h"

#include <ATen/ops/empty.h>

#include "chorus/base/error.h"
#include "chorus/kernels/activation.h"
#include "chorus/kernels/decoding.h"
#include "chorus/kernels/linear_rows.h"
#include "chorus/moe/inference.h"
#include "chorus/nn/attention.h"

namespace chorus {

namespace {

/// The weights of one model as functions of fp32 rows [n, d].
struct Rows {
  const Weights& w;

  [[nodiscard]] at::Tensor norm(const NormIndex& index, const at::Tensor& x) const {
    return normalize_rows(x, w[index.weight].value, w[index.bias].value, w.config.norm_epsilon);
  }
  [[nodiscard]] at::Tensor linear(const LinearIndex& index, const at::Tensor& x,
                                  const at::Tensor& residual = {}, bool relu = false) const {
    return linear_rows(x, w[index.weight].value,
                       {.bias = w[index.bias].value, .relu = relu, .residual = residual});
  }
  [[nodiscard]] at::Tensor feed_forward(const LayerIndex& layer, const at::Tensor& x) const {
    const at::Tensor input = norm(layer.ffn_norm, x);
    const FeedForwardIndex& ffn = layer.ffn;
    if (ffn.sparse) {
      return moe_rows(input, x,
                      {.router = &w[ffn.router],
                       .fc1_weight = &w[ffn.fc1.weight],
                       .fc1_bias = &w[ffn.fc1.bias],
                       .fc2_weight = &w[ffn.fc2.weight],
                       .fc2_bias = &w[ffn.fc2.bias]},
                      w.config.moe, w.config.activation);
    }
    const bool relu = w.config.activation == Activation::relu;
    const at::Tensor inner = linear(ffn.fc1, input, {}, relu);
    return linear(ffn.fc2, relu ? inner : activate(w.config.activation, inner), x);
  }
};

/// The rows of each sentence of length `length` that are not padding.
std::vector<std::vector<int32_t>> unpadded_rows(const at::Tensor& mask, int64_t sentences, int64_t length) {
  const at::Tensor added = mask.defined() ? mask.to(at::kFloat).contiguous() : at::Tensor();
  std::vector<std::vector<int32_t>> rows(sentences);
  for (int64_t b = 0; b < sentences; ++b) {
    for (int64_t i = b * length; i < (b + 1) * length; ++i) {
      if (!mask.defined() || added.const_data_ptr<float>()[i] == 0)
        rows[b].push_back(static_cast<int32_t>(i));
    }
  }
  return rows;
}

}  // namespace

bool infers_by_rows(const ModelConfig& c) {
  return c.norm == Norm::layer && c.biases && c.positions == Positions::sinusoidal && c.head_dim == 0 &&
         c.scale_attention && c.scale_embedding && c.tied_output && !c.scale_output &&
         c.moe.sentence_capacity == 0;
}

at::Tensor encode_by_rows(const Weights& w, const Catalogue& catalogue, const Side& source,
                          const at::Tensor& positions) {
  const Rows model = {w};
  const int64_t sentences = source.ids.size(0), length = source.ids.size(1), width = w.config.d_model;
  const double scale = std::sqrt(static_cast<double>(width));
  at::Tensor x = embed_rows(source.ids.contiguous().view(-1), w[catalogue.embedding].value, scale,
                            positions.narrow(0, 0, length));
  const AttentionOptions options = {
      .mask = source.attention_mask.defined() ? source.attention_mask.to(at::kFloat) : at::Tensor()};
  for (const LayerIndex& layer : catalogue.encoder) {
    const at::Tensor qkv = model.linear(layer.self_qkv, model.norm(layer.self_norm, x));
    const auto parts = split_heads(qkv.view({sentences, length, 3 * width}), 3, w.config.attention_heads);
    const at::Tensor context = attention(parts[0], parts[1], parts[2], options).contiguous();
    x = model.linear(layer.self_out, context.view({-1, width}), x);
    x = model.feed_forward(layer, x);
  }
  return model.norm(catalogue.encoder_norm, x).view({sentences, length, width});
}

StepCache make_step_cache(const Weights& w, const Catalogue& catalogue, const at::Tensor& memory,
                          const at::Tensor& mask, int64_t room) {
  const Rows model = {w};
  const int64_t sentences = memory.size(0), length = memory.size(1), width = memory.size(2);
  const at::Tensor rows = memory.to(at::kFloat).contiguous().view({-1, width});
  StepCache cache;
  for (const LayerIndex& layer : catalogue.decoder)
    cache.layers.push_back(
        {.self = at::empty({room, 3 * width}, at::kFloat), .memory = model.linear(layer.cross_kv, rows)});
  cache.tokens.resize(sentences);
  cache.sources = unpadded_rows(mask, sentences, length);
  return cache;
}

at::Tensor step_by_rows(const Weights& w, const Catalogue& catalogue, const at::Tensor& ids,
                        const at::Tensor& position, StepCache& cache) {
  const Rows model = {w};
  const int64_t rows = ids.size(0), width = w.config.d_model, heads = w.config.attention_heads;
  if (const int64_t room = cache.layers.front().self.size(0); cache.used + rows > room)
    throw Error("decoding went past the {} tokens there is room for", room);
  for (int64_t row = 0; row < rows; ++row)
    cache.tokens[row].push_back(static_cast<int32_t>(cache.used + row));
  at::Tensor x = embed_rows(ids.contiguous(), w[catalogue.embedding].value,
                            std::sqrt(static_cast<double>(width)), position);
  for (size_t i = 0; i < catalogue.decoder.size(); ++i) {
    const LayerIndex& layer = catalogue.decoder[i];
    const auto& [self, memory] = cache.layers[i];
    const at::Tensor now = self.narrow(0, cache.used, rows);
    linear_rows(now, model.norm(layer.self_norm, x), w[layer.self_qkv.weight].value,
                {.bias = w[layer.self_qkv.bias].value});
    at::Tensor context = attend_rows(now.narrow(1, 0, width), self.narrow(1, width, width),
                                     self.narrow(1, 2 * width, width), cache.tokens, heads);
    x = model.linear(layer.self_out, context, x);
    const at::Tensor query = model.linear(layer.cross_q, model.norm(layer.cross_norm, x));
    context =
        attend_rows(query, memory.narrow(1, 0, width), memory.narrow(1, width, width), cache.sources, heads);
    x = model.linear(layer.cross_out, context, x);
    x = model.feed_forward(layer, x);
  }
  cache.used += rows;
  if (!cache.logits.defined() || cache.logits.size(0) < rows)
    cache.logits = at::empty({rows, w.config.vocabulary}, at::kFloat);
  at::Tensor logits = cache.logits.narrow(0, 0, rows);
  linear_rows(logits, model.norm(catalogue.decoder_norm, x), w[catalogue.embedding].value);
  return logits;
}

void reorder(StepCache& cache, const at::Tensor& rows, const at::Tensor& sentences) {
  const auto pick = [](std::vector<std::vector<int32_t>>& lists, const at::Tensor& index) {
    std::vector<std::vector<int32_t>> picked;
    picked.reserve(index.numel());
    for (int64_t i = 0; i < index.numel(); ++i) picked.push_back(lists[index.const_data_ptr<int64_t>()[i]]);
    lists = std::move(picked);
  };
  pick(cache.tokens, rows);
  if (sentences.defined()) pick(cache.sources, sentences);
}

}  // namespace chorus
