#include "model/internal/row_decoder.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/bfloat16.h"
#include "kernels/decoding.h"
#include "kernels/device.h"
#include "kernels/gemm.h"
#include "moe/inference.h"

#include "model/internal/output.h"
#include "model/internal/stacks.h"

namespace chorus::inline model {

namespace {

/// The weights of one model as functions of fp32 rows [n, d].
struct LayersByRow {
  const Weights& w;

  [[nodiscard]] at::Tensor norm(const NormIndex& index, const at::Tensor& x) const {
    return plain_norm(w, index, x);
  }
  /// What a sub-layer reads, and what becomes of its sum with that.
  [[nodiscard]] at::Tensor before(const NormIndex& index, const at::Tensor& x) const {
    return w.config.post_norm ? x : norm(index, x);
  }
  [[nodiscard]] at::Tensor after(const NormIndex& index, const at::Tensor& sum) const {
    return w.config.post_norm ? norm(index, sum) : sum;
  }
  [[nodiscard]] at::Tensor linear(const LinearIndex& index, const at::Tensor& x,
                                  const at::Tensor& residual = {}, bool relu = false) const {
    return linear_product(x, w[index.weight].matrix(),
                          {.bias = w.value(index.bias), .relu = relu, .residual = residual});
  }
  [[nodiscard]] at::Tensor feed_forward(const LayerIndex& layer, const at::Tensor& x) const {
    const at::Tensor input = before(layer.ffn_norm, x);
    const FeedForwardIndex& ffn = layer.ffn;
    if (ffn.sparse) {
      return after(layer.ffn_norm, moe_rows(input, x,
                                            {.router = &w[ffn.router],
                                             .fc1_weight = &w[ffn.fc1.weight],
                                             .fc1_bias = &w[ffn.fc1.bias],
                                             .fc2_weight = &w[ffn.fc2.weight],
                                             .fc2_bias = &w[ffn.fc2.bias]},
                                            w.config.moe, w.config.activation, w.experts, layer.block));
    }
    const bool relu = w.config.activation == Activation::relu;
    const at::Tensor inner = linear(ffn.fc1, input, {}, relu);
    return after(layer.ffn_norm,
                 linear(ffn.fc2, relu ? inner : activate_rows(w.config.activation, inner), x));
  }
};

/// [n, d], the ids those of positions first .. first + count - 1, again and again.
at::Tensor embed_tokens(Transformer& model, const at::Tensor& ids, int64_t first, int64_t count) {
  const ModelConfig& c = model.config();
  const at::Tensor positions = model.positions().defined()
                                   ? model.positions().narrow(0, first, count)
                                   : at::zeros({1, c.d_model}, at::kFloat);  // they are relative
  return embed_rows(ids.contiguous().view(-1), model.weights()[model.catalogue().embedding].matrix(),
                    c.scale_embedding ? std::sqrt(static_cast<double>(c.d_model)) : 1, positions);
}

std::optional<double> attention_scale(const ModelConfig& config) {
  return config.scale_attention ? std::nullopt : std::optional(1.0);
}

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

/// Slots for the keys and values of tokens: those that no hypothesis looks at any more are given again, so that memory
/// is touched for what lives.
class TokenSlots {
 public:
  explicit TokenSlots(int64_t room) : room_(room) {}
  /// Takes `count` free slots. Error when there are not so many.
  std::vector<int32_t> take(int64_t count) {
    std::vector<int32_t> slots;
    for (; std::ssize(slots) < count && !free_.empty(); free_.pop_back()) slots.push_back(free_.back());
    if (used_ + count - std::ssize(slots) > room_)
      throw Error("decoding went past the {} tokens there is room for", room_);
    while (std::ssize(slots) < count) slots.push_back(static_cast<int32_t>(used_++));
    return slots;
  }
  /// Frees all slots but those in `lists`.
  void keep(const std::vector<std::vector<int32_t>>& lists) {
    std::vector<bool> lives(used_);
    for (const std::vector<int32_t>& list : lists)
      for (const int32_t slot : list) lives[slot] = true;
    free_.clear();
    for (int64_t slot = used_; slot-- > 0;)
      if (!lives[slot]) free_.push_back(static_cast<int32_t>(slot));
  }

 private:
  int64_t room_, used_ = 0;    // of `used_` slots the first ones, free ones included
  std::vector<int32_t> free_;  // the lowest last
};

/// Keys and values stay where they were computed: which of them a hypothesis looks at is a list of slots, so that to
/// reorder hypotheses is to copy lists.
class RowDecoding final : public Decoding {
 public:
  /// `room`: tokens, of all hypotheses and steps together.
  RowDecoding(Transformer& model, const at::Tensor& memory, const at::Tensor& mask, int64_t room,
              std::vector<Candidates> candidates)
      : model_(model),
        weights_(model.weights()),
        catalogue_(model.catalogue()),
        slots_(room),
        output_(weights_[catalogue_.output].matrix(), weights_.value(catalogue_.output_bias),
                std::move(candidates)) {
    const LayersByRow rows = {weights_};
    const int64_t sentences = memory.size(0), length = memory.size(1),
                  width = weights_.config.attention_width();
    const at::Tensor flat = memory.to(at::kFloat).contiguous().view({-1, memory.size(2)});
    const at::ScalarType type = model.options().caches.value_or(model.options().compute);
    for (const LayerIndex& layer : catalogue_.decoder)
      layers_.push_back(
          {.self = at::empty({room, 2 * width}, type), .memory = rows.linear(layer.cross_kv, flat).to(type)});
    tokens_.resize(sentences);
    sources_ = unpadded_rows(mask, sentences, length);
  }

  at::Tensor step(const at::Tensor& ids) override {
    const at::NoGradGuard plain;
    const Weights& w = weights_;
    const LayersByRow model = {w};
    const int64_t rows = ids.size(0), width = w.config.attention_width(), heads = w.config.attention_heads;
    if (position_ >= w.config.max_positions)
      throw Error("decoding went past the model's {} positions", w.config.max_positions);
    const std::vector<int32_t> slots = slots_.take(rows);
    for (int64_t row = 0; row < rows; ++row) tokens_[row].push_back(slots[row]);
    at::Tensor x = embed_tokens(model_, ids, position_, 1);
    const RowScores by_source = {.scale = attention_scale(w.config)};
    RowScores by_tokens = by_source;
    if (catalogue_.decoder_positions != kNoParameter) {
      const at::Tensor bias = position_bias(w, catalogue_.decoder_positions, position_, 1, true, {});
      by_tokens.bias = bias.to(at::kFloat).view({heads, 1, position_ + 1}).contiguous();
    }
    ++position_;
    for (size_t i = 0; i < catalogue_.decoder.size(); ++i) {
      const LayerIndex& layer = catalogue_.decoder[i];
      const auto& [self, memory] = layers_[i];
      expect_experts(w, catalogue_.decoder, i, x);
      // Query, key, value.
      const at::Tensor now = model.linear(layer.self_qkv, model.before(layer.self_norm, x));
      keep(now.narrow(1, width, 2 * width), self, slots);
      at::Tensor context = attend_rows(now.narrow(1, 0, width), self.narrow(1, 0, width),
                                       self.narrow(1, width, width), tokens_, heads, by_tokens);
      x = model.after(layer.self_norm, model.linear(layer.self_out, context, x));
      const at::Tensor query = model.linear(layer.cross_q, model.before(layer.cross_norm, x));
      context = attend_rows(query, memory.narrow(1, 0, width), memory.narrow(1, width, width), sources_,
                            heads, by_source);
      x = model.after(layer.cross_norm, model.linear(layer.cross_out, context, x));
      x = model.feed_forward(layer, x);
    }
    x = model.norm(catalogue_.decoder_norm, x);
    return output_(w.config.scale_output ? x.mul_(output_scale(w.config)) : x);
  }

  void reorder(const at::Tensor& rows, const at::Tensor& sentences) override {
    const auto pick = [](std::vector<std::vector<int32_t>>& lists, const at::Tensor& index) {
      std::vector<std::vector<int32_t>> picked;
      picked.reserve(index.numel());
      for (int64_t i = 0; i < index.numel(); ++i) picked.push_back(lists[index.const_data_ptr<int64_t>()[i]]);
      lists = std::move(picked);
    };
    pick(tokens_, rows);
    slots_.keep(tokens_);
    if (!sentences.defined()) return;
    pick(sources_, sentences);
    output_.pick(sentences);
  }

 private:
  // In fp32 or bf16.
  struct Layer {
    at::Tensor self;    // [room, 2 d] key and value of the token in each slot
    at::Tensor memory;  // [sentences S, 2 d] key and value of the encoder's output
  };

  /// Puts the rows (fp32) of a step into their slots.
  static void keep(const at::Tensor& rows, const at::Tensor& cache, const std::vector<int32_t>& slots) {
    const int64_t width = rows.size(1);
    const auto copy = [&]<class T>() {
      auto* const to = cache.mutable_data_ptr<T>();
      for (size_t row = 0; row < slots.size(); ++row) {
        const auto* const from = rows.const_data_ptr<float>() + static_cast<int64_t>(row) * rows.stride(0);
        for (int64_t i = 0; i < width; ++i) to[slots[row] * width + i] = narrow<T>(from[i]);
      }
    };
    cache.scalar_type() == at::kBFloat16 ? copy.operator()<c10::BFloat16>() : copy.operator()<float>();
  }

  Transformer& model_;
  Weights weights_;
  const Catalogue& catalogue_;
  std::vector<Layer> layers_;
  int64_t position_ = 0;                       // tokens consumed
  TokenSlots slots_;                           // of `self`
  std::vector<std::vector<int32_t>> tokens_;   // of each hypothesis: the slots of its tokens
  std::vector<std::vector<int32_t>> sources_;  // of each sentence: the rows of its tokens in `memory`
  OutputLayer output_;
};

}  // namespace

bool RowDecoder::suits(const Transformer& model) {
  const Transformer::Options& options = model.options();
  const ModelConfig& c = model.config();
  return is_host(options.device) && (options.compute == at::kFloat || options.compute == at::kBFloat16) &&
         (c.moe.experts == 0 || (c.biases && c.moe.sentence_capacity == 0));
}

at::Tensor RowDecoder::encode(const Side& source) const {
  const at::NoGradGuard plain;
  const Weights w = model_.weights();
  const Catalogue& catalogue = model_.catalogue();
  const LayersByRow model = {w};
  const int64_t sentences = source.ids.size(0), length = source.ids.size(1),
                width = w.config.attention_width(), heads = w.config.attention_heads;
  at::Tensor x = embed_tokens(model_, source.ids, 0, length);
  const std::vector<std::vector<int32_t>> seen = unpadded_rows(source.attention_mask, sentences, length);
  RowScores scores = {.scale = attention_scale(w.config)};
  if (catalogue.encoder_positions != kNoParameter) {
    const at::Tensor bias = position_bias(w, catalogue.encoder_positions, 0, length, false, {});
    scores.bias = bias.to(at::kFloat).view({heads, length, length}).contiguous();
  }
  for (size_t i = 0; i < catalogue.encoder.size(); ++i) {
    const LayerIndex& layer = catalogue.encoder[i];
    expect_experts(w, catalogue.encoder, i, x);
    const at::Tensor qkv = model.linear(layer.self_qkv, model.before(layer.self_norm, x));
    const at::Tensor context = attend_rows(qkv.narrow(1, 0, width), qkv.narrow(1, width, width),
                                           qkv.narrow(1, 2 * width, width), seen, heads, scores);
    x = model.after(layer.self_norm, model.linear(layer.self_out, context, x));
    x = model.feed_forward(layer, x);
  }
  return model.norm(catalogue.encoder_norm, x).view({sentences, length, -1});
}

std::unique_ptr<Decoding> RowDecoder::start(const at::Tensor& memory, const at::Tensor& memory_mask,
                                            int64_t max_tokens, int64_t hypotheses,
                                            std::vector<Candidates> candidates) const {
  const at::NoGradGuard plain;
  return std::make_unique<RowDecoding>(model_, memory, memory_mask, memory.size(0) * hypotheses * max_tokens,
                                       std::move(candidates));
}

}  // namespace chorus::inline model
