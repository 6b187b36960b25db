#include "model/layers.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include "data/batch.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/routing.h"
#include "model/executor.h"
#include "moe/layer.h"
#include "nn/attention.h"

namespace chorus::inline model {

namespace {

NormParameters norm_of(const Weights& w, const NormIndex& index) {
  return {.weight = &w[index.weight], .bias = w.find(index.bias), .epsilon = w.config.norm_epsilon};
}

/// One layer in one pass.
struct Layer {
  const Weights& w;
  const LayerIndex& index;
  const Pass& pass;
  RandomKey key;

  Layer(const Weights& weights, const LayerIndex& layer_index, const Pass& layer_pass)
      : w(weights), index(layer_index), pass(layer_pass), key(layer_pass.key.derive(layer_index.block)) {}

  [[nodiscard]] at::Tensor project(const LinearIndex& linear_index, const at::Tensor& x,
                                   bool cut_by_inputs) const {
    return linear(x, w[linear_index.weight], w.find(linear_index.bias),
                  {.over = cut_over(pass), .by_inputs = cut_by_inputs});
  }

  /// Applies the first linear layer of a sub-layer, behind its norm where that comes before.
  [[nodiscard]] at::Tensor norm_project(const NormIndex& norm_index, const LinearIndex& linear_index,
                                        const at::Tensor& x) const {
    if (w.config.post_norm) return project(linear_index, x, false);
    return norm_linear(x, norm_of(w, norm_index), w[linear_index.weight], w.find(linear_index.bias),
                       cut_over(pass));
  }

  /// Returns which of `total` heads or inner values this rank computes, along that dimension.
  [[nodiscard]] SliceOf slice(int64_t dimension, int64_t total) const {
    const Group* const over = cut_over(pass);
    if (!over) return {};
    return {
        .dimension = dimension, .first = part_of(total, over->rank(), over->size()).first, .total = total};
  }

  /// Returns how many of the heads are here.
  [[nodiscard]] int64_t heads() const {
    const Group* const over = cut_over(pass);
    return w.config.attention_heads / (over ? over->size() : 1);
  }

  [[nodiscard]] bool skipped() const {
    return pass.training && w.config.layer_dropout > 0 &&
           key.derive("layer").uniform(0) < w.config.layer_dropout;
  }

  /// Returns what a skipped layer gives. Its experts may be needed by the tokens of other ranks all the same.
  [[nodiscard]] at::Tensor passed_over(const at::Tensor& x) const {
    const bool awaited =
        index.ffn.sparse && !pass.pass_over_experts && pass.parallel && pass.parallel->shares_experts();
    if (!awaited) return x;
    const at::Tensor none = x.reshape({-1, x.size(-1)}).narrow(0, 0, 0);
    return x + experts(none, {}, 1, nullptr).sum();  // the sum of no rows: zero
  }

  /// Ends a sub-layer, of which `norm_index` is the norm.
  [[nodiscard]] at::Tensor residual(const NormIndex& norm_index, const at::Tensor& x,
                                    const at::Tensor& output, const char* name) const {
    const at::Tensor sum = x + dropout(output, pass.training ? w.config.dropout : 0, key.derive(name));
    return w.config.post_norm ? norm(sum, norm_of(w, norm_index)) : sum;
  }

  [[nodiscard]] AttentionOptions attention_options(const at::Tensor& mask, bool causal,
                                                   const char* name) const {
    return {.mask = mask,
            .causal = causal,
            .scale = w.config.scale_attention ? std::nullopt : std::optional(1.0),
            .dropout = pass.training ? w.config.attention_dropout : 0,
            .key = key.derive(name).derive("attention"),
            .heads = slice(1, w.config.attention_heads)};
  }

  [[nodiscard]] at::Tensor self_attention(const at::Tensor& x, const at::Tensor& mask, bool causal) const {
    const auto qkv = split_heads(norm_project(index.self_norm, index.self_qkv, x), 3, heads());
    const at::Tensor context = attention(qkv[0], qkv[1], qkv[2], attention_options(mask, causal, "self"));
    return residual(index.self_norm, x, project(index.self_out, context, true), "self");
  }

  [[nodiscard]] std::vector<at::Tensor> memory_key_value(const at::Tensor& memory) const {
    return split_heads(project(index.cross_kv, memory, false), 2, heads());
  }

  [[nodiscard]] at::Tensor cross_attention(const at::Tensor& x, const at::Tensor& keys,
                                           const at::Tensor& values, const at::Tensor& mask) const {
    const auto query = split_heads(norm_project(index.cross_norm, index.cross_q, x), 1, heads());
    for (CrossAttention& kept : pass.cross_attention) {
      if (kept.block != index.block) continue;
      const double scale =
          w.config.scale_attention ? 1 / std::sqrt(static_cast<double>(query[0].size(-1))) : 1;
      const at::Tensor scores = at::matmul(query[0], keys.transpose(-2, -1)).to(at::kFloat) * scale;
      kept.weights = at::softmax(mask.defined() ? scores + mask : scores, -1);
    }
    const at::Tensor context = attention(query[0], keys, values, attention_options(mask, false, "cross"));
    return residual(index.cross_norm, x, project(index.cross_out, context, true), "cross");
  }

  [[nodiscard]] at::Tensor dense(const at::Tensor& x) const {
    const FeedForwardIndex& ffn = index.ffn;
    const at::Tensor inner = activation(w.config.activation, norm_project(index.ffn_norm, ffn.fc1, x));
    const double p = pass.training ? w.config.activation_dropout : 0;
    return project(ffn.fc2, dropout(inner, p, key.derive("activation"), slice(-1, w.config.ffn_dim)), true);
  }

  [[nodiscard]] std::function<bool(const std::vector<int64_t>&, bool)> before_experts() const {
    if (w.experts) {  // for as long as the call has this function
      return [source = w.experts, block = index.block, loan = std::shared_ptr<BorrowedExperts>()](
                 const std::vector<int64_t>& rows, bool) mutable {
        loan = source->borrow(block, rows);
        for (const int64_t expert : loan->order()) loan->wait(expert);
        return false;
      };
    }
    if (!pass.watcher) return nullptr;
    return [watcher = pass.watcher, block = index.block](const std::vector<int64_t>& rows, bool backward) {
      return watcher->before_experts(block, rows, backward);
    };
  }

  /// Runs the MoE layer: rows [N, d] -> [N, d].
  [[nodiscard]] at::Tensor experts(const at::Tensor& rows, const Side& side, int64_t sentence_length,
                                   MoeStatistics* statistics) const {
    const FeedForwardIndex& ffn = index.ffn;
    const MoeWeights weights = {.router = &w[ffn.router],
                                .fc1_weight = &w[ffn.fc1.weight],
                                .fc1_bias = w.find(ffn.fc1.bias),
                                .fc2_weight = &w[ffn.fc2.weight],
                                .fc2_bias = w.find(ffn.fc2.bias)};
    const MoeCall call = {
        .parallel = pass.parallel,
        .training = pass.training,
        .dropless = pass.dropless,
        .sentence_length = sentence_length,
        .key = key.derive("moe"),
        .activation = w.config.activation,
        .activation_dropout = w.config.activation_dropout,
        .inner_width = w.config.ffn_dim,
        .auxiliary_scale = pass.auxiliary_scale,
        .active = side.active,
        .observer = {.groups = side.groups,
                     .group_count = pass.group_count,
                     .statistics = statistics,
                     .record = pass.routings ? &(*pass.routings)[index.ffn.number] : nullptr},
        .before_experts = before_experts()};
    return moe_layer(rows, weights, w.config.moe, call);
  }

  [[nodiscard]] at::Tensor sparse(const at::Tensor& x, const Side& side, int64_t sentence_length) const {
    const at::Tensor input = w.config.post_norm ? x : norm(x, norm_of(w, index.ffn_norm));
    MoeStatistics* const statistics = pass.statistics ? &(*pass.statistics)[index.ffn.number] : nullptr;
    return experts(input.reshape({-1, x.size(-1)}), side, sentence_length, statistics).view(x.sizes());
  }

  [[nodiscard]] at::Tensor feed_forward(const at::Tensor& x, const Side& side,
                                        int64_t sentence_length) const {
    if (index.ffn.sparse && pass.pass_over_experts) return x;
    return residual(index.ffn_norm, x, index.ffn.sparse ? sparse(x, side, sentence_length) : dense(x),
                    "feed forward");
  }
};

}  // namespace

at::Tensor sinusoidal_positions(int64_t positions, int64_t d_model, Positions kind) {
  const int64_t half = d_model / 2;
  if (kind == Positions::marian) {
    const double scale = -std::log(10000.0) * 2 / static_cast<double>(d_model);
    const at::Tensor frequency = (at::arange(half, at::kDouble) * scale).exp();
    const at::Tensor angle = at::arange(positions, at::kDouble).unsqueeze(1) * frequency.unsqueeze(0);
    return at::cat({angle.sin(), angle.cos()}, 1).to(at::kFloat);
  }
  const double step = std::log(10000.0) / static_cast<double>(std::max<int64_t>(half - 1, 1));
  const at::Tensor frequency = (at::arange(half, at::kFloat) * -step).exp();
  constexpr int64_t kOffset = 2;  // fairseq numbers the first token padding_idx + 1
  const at::Tensor angle =
      at::arange(kOffset, positions + kOffset, at::kFloat).unsqueeze(1) * frequency.unsqueeze(0);
  return at::cat({angle.sin(), angle.cos()}, 1);
}

VocabularyCut vocabulary_cut(const Weights& w, const Pass& pass) {
  Group* const over = cut_over(pass);
  if (!over) return {};
  const int64_t total = w.config.vocabulary;
  return {.over = over, .first = part_of(total, over->rank(), over->size()).first, .total = total};
}

at::Tensor embed(const Weights& w, size_t embedding_index, const at::Tensor& ids, const at::Tensor& positions,
                 int64_t first, const Pass& pass) {
  const double scale = w.config.scale_embedding ? std::sqrt(static_cast<double>(w.config.d_model)) : 1;
  // Where T5's decoder starts with it, padding has an embedding of its own; at its other places the gradient
  // is 0. Marian's starts with one that stays as it is.
  const bool trained = w.config.decoder_start == kPad && w.config.positions != Positions::marian;
  const int64_t padding = trained ? -1 : kPad;
  at::Tensor x = embedding(ids, w[embedding_index], scale, padding, vocabulary_cut(w, pass));
  if (positions.defined()) x = x + positions.narrow(0, first, ids.size(1));
  return dropout(x, pass.training ? w.config.dropout : 0, pass.key.derive("embedding"));
}

at::Tensor position_bias(const Weights& w, size_t table, int64_t first, int64_t queries, bool causal,
                         const at::Tensor& mask) {
  const at::Tensor buckets = relative_buckets(first, queries,
                                              {.buckets = w.config.relative_buckets,
                                               .max_distance = w.config.relative_max_distance,
                                               .bidirectional = !causal})
                                 .to(w[table].value.device());
  at::Tensor bias = embedding(buckets, w[table], 1, -1).permute({2, 0, 1}).unsqueeze(0);
  if (causal && queries > 1) {
    const at::Tensor lowest = at::full({queries, first + queries}, -std::numeric_limits<double>::infinity(),
                                       bias.options().requires_grad(false));
    bias = bias + lowest.triu(first + 1);
  }
  return mask.defined() ? bias + mask : bias;
}

at::Tensor plain_norm(const Weights& w, const NormIndex& index, const at::Tensor& x) {
  if (index.weight == kNoParameter) return x;
  const at::Tensor bias = w.value(index.bias);
  return norm_rows(x, {.weight = w[index.weight].value.to(at::kFloat),
                       .bias = bias.defined() ? bias.to(at::kFloat) : bias,
                       .epsilon = w.config.norm_epsilon})
      .output;
}

void expect_experts(const Weights& w, std::span<const LayerIndex> layers, size_t i, const at::Tensor& x,
                    const ActiveRows& active) {
  if (!w.experts || (i > 0 && !layers[i - 1].ffn.sparse)) return;
  const std::span<const LayerIndex> later = layers.subspan(i);
  const auto next = std::ranges::find_if(later, [](const LayerIndex& layer) { return layer.ffn.sparse; });
  if (next == later.end()) return;
  at::Tensor input = x.to(at::kFloat).reshape({-1, x.size(-1)});
  if (!w.config.post_norm) input = plain_norm(w, next->ffn_norm, input);
  const at::Tensor logits = linear_product(input, w[next->ffn.router].matrix());
  const at::Tensor chosen = route(logits, active, {.top_k = w.config.moe.top_k}, RandomKey()).assigned;
  const auto* const rows = chosen.const_data_ptr<int64_t>();
  w.experts->expect(next->block, {rows, rows + chosen.numel()});
}

at::Tensor final_norm(const Weights& w, const NormIndex& index, const at::Tensor& x, double scale) {
  const at::Tensor y = index.weight == kNoParameter ? x : norm(x, norm_of(w, index));
  return scale == 1 ? y : y * scale;
}

at::Tensor encoder_layer(const Weights& w, const LayerIndex& index, const at::Tensor& x,
                         const at::Tensor& bias, const Side& source, const Pass& pass) {
  const Layer layer(w, index, pass);
  if (layer.skipped()) return layer.passed_over(x);
  const at::Tensor y = layer.self_attention(x, bias.defined() ? bias : source.attention_mask, false);
  return layer.feed_forward(y, source, x.size(1));
}

at::Tensor decoder_layer(const Weights& w, const LayerIndex& index, const DecoderInput& input,
                         const Pass& pass) {
  const Layer layer(w, index, pass);
  if (layer.skipped()) return layer.passed_over(input.x);
  // Padding stands at the end, so the causal mask alone keeps it from every real token.
  at::Tensor y = layer.self_attention(input.x, input.bias, !input.bias.defined());
  const auto kv = layer.memory_key_value(input.memory);
  y = layer.cross_attention(y, kv[0], kv[1], input.source.attention_mask);
  return layer.feed_forward(y, input.target, pass.dropless ? 1 : input.x.size(1));
}

at::Tensor decoder_layer_step(const Weights& w, const LayerIndex& index, const StepInput& input,
                              LayerCache& cache, const Pass& pass) {
  const Layer layer(w, index, pass);
  const auto& [x, bias, position, memory_mask] = input;
  const auto qkv = split_heads(layer.norm_project(index.self_norm, index.self_qkv, x), 3, layer.heads());
  cache.self_key.select(2, position).copy_(qkv[1].squeeze(2));
  cache.self_value.select(2, position).copy_(qkv[2].squeeze(2));
  const at::Tensor context =
      attention(qkv[0], cache.self_key.narrow(2, 0, position + 1),
                cache.self_value.narrow(2, 0, position + 1), layer.attention_options(bias, false, "self"));
  at::Tensor y = layer.residual(index.self_norm, x, layer.project(index.self_out, context, true), "self");
  // The hypotheses of a sentence look at its memory as if they were one text's positions.
  y = layer.cross_attention(y.view({cache.cross_key.size(0), -1, x.size(2)}), cache.cross_key,
                            cache.cross_value, memory_mask);
  return layer.feed_forward(y.view(x.sizes()), {}, 1);
}

}  // namespace chorus::inline model
