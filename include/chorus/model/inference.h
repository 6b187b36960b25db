// Encoding and decoding on the CPU, as the kernels of kernels/decoding.h do it: activations are fp32 rows,
// one a token, whatever the weights' type. The blocks are those of model/layers.h, which do the same for
// other devices.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/model/catalogue.h"
#include "chorus/model/layers.h"

namespace chorus {

/// What a decoder remembers of a batch. Keys and values stay where they were computed: which of them a
/// hypothesis looks at is a list of row numbers, so that to reorder hypotheses is to copy lists.
struct StepCache {
  struct Layer {
    at::Tensor self;    // [room, 3 d] query, key and value of each token fed, in the order of feeding
    at::Tensor memory;  // [sentences S, 2 d] key and value of the encoder's output
  };
  std::vector<Layer> layers;
  at::Tensor
      logits;  // [rows, V] of the last step: megabytes that need not be touched for the first time at each
  int64_t used = 0;                           // rows of `self`
  std::vector<std::vector<int32_t>> tokens;   // of each hypothesis: the rows of its tokens in `self`
  std::vector<std::vector<int32_t>> sources;  // of each sentence: the rows of its tokens in `memory`
};

/// Whether the functions below compute what this architecture is: M2M100's and NLLB-MoE's, not T5's.
bool infers_by_rows(const ModelConfig& config);

/// Encoder output [B, S, d], fp32. positions: [max, d].
at::Tensor encode_by_rows(const Weights& w, const Catalogue& catalogue, const Side& source,
                          const at::Tensor& positions);

/// A cache for at most `room` tokens, of all hypotheses and steps together, with one hypothesis a sentence.
/// memory: [B, S, d]; mask as DecoderState::memory_mask.
StepCache make_step_cache(const Weights& w, const Catalogue& catalogue, const at::Tensor& memory,
                          const at::Tensor& mask, int64_t room);

/// Feeds one token a hypothesis (ids int64 [rows]), the `position`-th; returns the logits, fp32 [rows, V],
/// which the next step overwrites.
at::Tensor step_by_rows(const Weights& w, const Catalogue& catalogue, const at::Tensor& ids,
                        const at::Tensor& position, StepCache& cache);

/// As Transformer::reorder.
void reorder(StepCache& cache, const at::Tensor& rows, const at::Tensor& sentences);

}  // namespace chorus
