// The blocks of the model: embedding, position bias, encoder layer, decoder layer, final norm. Each is a
// function of its parameters, its inputs and a random key, and knows nothing of layouts, of what is kept for
// backward or of where weights live.
//
//   x = x + drop(self_attention(norm(x)))
//   x = x + drop(cross_attention(norm(x), memory))      decoder only
//   x = x + drop(feed_forward(norm(x)))                 dense, or an MoE layer
//
// or, with ModelConfig::post_norm, x = norm(x + drop(self_attention(x))) and so on.
#pragma once

#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "base/random.h"
#include "kernels/parameter.h"
#include "layout/catalogue.h"
#include "moe/expert_source.h"
#include "moe/layer.h"
#include "nn/functions.h"
#include "parallel/mesh.h"

namespace chorus::inline model {

class BlockWatcher;

/// One side (source or target) of a micro-batch, as a stack of layers needs it. B sentences of length L.
struct Side {
  at::Tensor ids;             // int64 [B, L]
  at::Tensor attention_mask;  // [B, 1, 1, L] 0 or -inf, in the compute type; undefined: no padding
  ActiveRows active;          // of [B L]: those that are no padding
  at::Tensor groups;          // int32 [B L] on the CPU: the language of each token; undefined: not counted
};

/// With which weights the tokens of one decoder layer look at the source.
struct CrossAttention {
  size_t block = 0;    // LayerIndex::block of the layer
  at::Tensor weights;  // fp32 [B, heads, T, S], which the pass writes
};

/// What a block needs to know of the pass it is part of.
struct Pass {
  bool training = false;
  RandomKey key = RandomKey();      // of the micro-batch; each block derives its own
  Parallel* parallel = nullptr;     // the ranks that have the weights that are not here; null: all are here
  BlockWatcher* watcher = nullptr;  // is told which experts are needed; null: none
  bool pass_over_experts = false;   // MoE layers leave the residual as it is (moe.gating_dropout)
  // No capacity factor binds (MoeCall), and in the decoder no capacity at all, as when decoding token by
  // token.
  bool dropless = false;
  double auxiliary_scale = 1;  // see MoeCall
  int64_t group_count = 0;     // languages
  // One per sparse layer, encoder first; null: nothing is counted.
  std::vector<MoeStatistics>* statistics = nullptr;
  std::vector<RoutingRecord>* routings = nullptr;  // likewise: what each layer decided
  std::span<CrossAttention> cross_attention = {};  // of the layers in which it is kept
};

/// The ranks over which dense weights are cut; null: they are whole.
inline Group* cut_over(const Pass& pass) {
  return pass.parallel && pass.parallel->tp.size() > 1 ? &pass.parallel->tp : nullptr;
}

/// The weights, by index into the catalogue, and the configuration they belong to.
struct Weights {
  const ModelConfig& config;
  std::vector<Parameter>& parameters;
  ExpertSource* experts = nullptr;  // whom the experts' weights are borrowed from; null: all are there
  Parameter& operator[](size_t index) const { return parameters[index]; }
  [[nodiscard]] Parameter* find(size_t index) const {
    return index == kNoParameter ? nullptr : &parameters[index];
  }
  /// The value; undefined where there is no such parameter.
  [[nodiscard]] at::Tensor value(size_t index) const {
    return index == kNoParameter ? at::Tensor() : parameters[index].value;
  }
};

/// sin | cos halves of positions 0 .. positions - 1, as M2M100 makes them, where row p serves the p-th token at index
/// p + 2, or as Marian does. [positions, d_model] fp32
at::Tensor sinusoidal_positions(int64_t positions, int64_t d_model, Positions kind = Positions::sinusoidal);

/// Which part of the vocabulary's weight this rank holds.
VocabularyCut vocabulary_cut(const Weights& w, const Pass& pass);

/// embedding[ids] sqrt(d_model) + positions[first ..], then dropout: [B, L] -> [B, L, d]. `positions`: [max,
/// d], in the compute type; undefined, and nothing is added, when they are relative.
at::Tensor embed(const Weights& w, size_t embedding, const at::Tensor& ids, const at::Tensor& positions,
                 int64_t first, const Pass& pass);

/// Relative positions: what the self-attention of all blocks of a stack adds to its scores, for `queries`
/// tokens from position `first` on, over themselves and all before them: [1, heads, queries, first + queries]
/// out of the table [buckets, heads]. The encoder's sees both directions, the decoder's (`causal`) has -inf
/// on later tokens. A `mask` [B, 1, 1, keys] is added: [B, heads, queries, keys].
at::Tensor position_bias(const Weights& w, size_t table, int64_t first, int64_t queries, bool causal,
                         const at::Tensor& mask);

/// A norm of the model without gradients, of fp32 rows [N, d]; x where the model has none there.
at::Tensor plain_norm(const Weights& w, const NormIndex& index, const at::Tensor& x);

/// Lets the experts that the next MoE layer will probably choose begin to come, beside what is computed until then:
/// those that it would choose if it read x [.., d]. Called before layers[i] of a stack runs with x; acts where that
/// is the first one or comes after an MoE layer. Does nothing where all experts are there.
void expect_experts(const Weights& w, std::span<const LayerIndex> layers, size_t i, const at::Tensor& x,
                    const ActiveRows& active = {});

/// The norm at the end of a stack, if it has one, times `scale`.
at::Tensor final_norm(const Weights& w, const NormIndex& index, const at::Tensor& x, double scale);

/// x [B, S, d] -> [B, S, d]. `bias`: position_bias() with source.attention_mask; undefined without relative
/// positions, as below.
at::Tensor encoder_layer(const Weights& w, const LayerIndex& layer, const at::Tensor& x,
                         const at::Tensor& bias, const Side& source, const Pass& pass);

/// What a decoder layer reads.
struct DecoderInput {
  const at::Tensor& x;       // [B, T, d]
  const at::Tensor& memory;  // [B, S, d] the encoder's output
  const at::Tensor& bias;    // position_bias(), causal
  const Side &target, &source;
};

/// [B, T, d]
at::Tensor decoder_layer(const Weights& w, const LayerIndex& layer, const DecoderInput& input,
                         const Pass& pass);

/// Keys and values of one decoder layer for decoding token by token: [rows, heads, L, d_head] each. The rows
/// of the cross attention are sentences; each has the same number of hypotheses, which are the rows of the
/// self-attention.
struct LayerCache {
  at::Tensor self_key, self_value;    // of the tokens so far, room for more along dimension 2
  at::Tensor cross_key, cross_value;  // of the encoder's output
};

/// What one decoding step of a layer reads.
struct StepInput {
  const at::Tensor& x;            // [rows, 1, d]
  const at::Tensor& bias;         // position_bias() of the one query
  int64_t position;               // 0-based
  const at::Tensor& memory_mask;  // Side::attention_mask of the source
};

/// [rows, 1, d]. Appends to the cache.
at::Tensor decoder_layer_step(const Weights& w, const LayerIndex& layer, const StepInput& input,
                              LayerCache& cache, const Pass& pass);

}  // namespace chorus::inline model
