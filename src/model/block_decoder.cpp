#include "model/internal/block_decoder.h"

#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>

#include "base/error.h"
#include "nn/attention.h"
#include "nn/functions.h"

#include "model/internal/output.h"
#include "model/internal/stacks.h"

namespace chorus::inline model {

namespace {

class BlockDecoding final : public Decoding {
 public:
  BlockDecoding(const Stacks& stacks, const at::Tensor& memory, at::Tensor memory_mask, int64_t max_tokens,
                std::vector<Candidates> candidates)
      : stacks_(stacks),
        memory_mask_(std::move(memory_mask)),
        room_(max_tokens),
        output_(stacks.weights[stacks.catalogue.output].matrix(),
                stacks.weights.value(stacks.catalogue.output_bias), std::move(candidates)) {
    const Weights& w = stacks_.weights;
    const int64_t heads = w.config.attention_heads;
    for (const LayerIndex& layer : stacks_.catalogue.decoder) {
      const auto kv =
          split_heads(linear(memory, w[layer.cross_kv.weight], w.find(layer.cross_kv.bias)), 2, heads);
      const at::Tensor room =
          at::empty({2, memory.size(0), heads, max_tokens, w.config.head_width()}, memory.options());
      layers_.push_back({.self_key = room[0],
                         .self_value = room[1],
                         .cross_key = kv[0].contiguous(),
                         .cross_value = kv[1].contiguous()});
    }
  }

  at::Tensor step(const at::Tensor& ids) override {
    const at::NoGradGuard plain;
    const auto& [w, catalogue, positions] = stacks_;
    if (position_ >= std::min(w.config.max_positions, room_))
      throw Error("decoding went past the {} tokens there is room for", room_);
    at::Tensor x = embed(w, catalogue.embedding, ids.unsqueeze(1), positions, position_, {});
    at::Tensor bias;
    if (catalogue.decoder_positions != kNoParameter)
      bias = position_bias(w, catalogue.decoder_positions, position_, 1, true, {});
    for (size_t i = 0; i < catalogue.decoder.size(); ++i) {
      x = decoder_layer_step(w, catalogue.decoder[i],
                             {.x = x, .bias = bias, .position = position_, .memory_mask = memory_mask_},
                             layers_[i], {.dropless = true});
    }
    ++position_;
    x = final_norm(w, catalogue.decoder_norm, x, output_scale(w.config));
    return output_(x.squeeze(1));
  }

  void reorder(const at::Tensor& rows, const at::Tensor& sentences) override {
    const at::NoGradGuard plain;
    const auto pick_sentences = [&](at::Tensor& tensor) {
      if (sentences.defined() && tensor.defined()) tensor = tensor.index_select(0, sentences);
    };
    for (LayerCache& cache : layers_) {
      pick_rows(cache.self_key, rows);
      pick_rows(cache.self_value, rows);
      pick_sentences(cache.cross_key);
      pick_sentences(cache.cross_value);
    }
    pick_sentences(memory_mask_);
    if (sentences.defined()) output_.pick(sentences);
  }

 private:
  /// Reorders a cache. Copies only the tokens so far, into memory that was written before.
  void pick_rows(at::Tensor& cache, const at::Tensor& rows) {
    std::vector<int64_t> sizes = cache.sizes().vec();
    sizes[0] = rows.size(0);
    if (!spare_.defined() || spare_.size(0) < sizes[0]) spare_ = at::empty(sizes, cache.options());
    const at::Tensor old = std::exchange(cache, spare_.narrow(0, 0, sizes[0]));
    spare_ = old;
    at::Tensor kept = cache.narrow(2, 0, position_);
    at::index_select_out(kept, old.narrow(2, 0, position_), 0, rows);
  }

  Stacks stacks_;
  std::vector<LayerCache> layers_;
  at::Tensor memory_mask_;  // [sentences, 1, 1, S]; undefined: no padding
  int64_t room_ = 0;        // tokens
  int64_t position_ = 0;    // tokens consumed
  at::Tensor spare_;        // where the next cache to be reordered goes
  OutputLayer output_;
};

}  // namespace

at::Tensor BlockDecoder::encode(const Side& source) const {
  const at::NoGradGuard plain;
  Executor executor(Executor::Mode::evaluate);
  return run_encoder(executor, model_.stacks(), source, {.dropless = true}).data;
}

std::unique_ptr<Decoding> BlockDecoder::start(const at::Tensor& memory, const at::Tensor& memory_mask,
                                              int64_t max_tokens, int64_t /*hypotheses*/,
                                              std::vector<Candidates> candidates) const {
  const at::NoGradGuard plain;
  return std::make_unique<BlockDecoding>(model_.stacks(), memory, memory_mask, max_tokens,
                                         std::move(candidates));
}

}  // namespace chorus::inline model
