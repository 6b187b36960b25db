// Routing: from the router's probabilities to the experts that compute each token.
//
// Everything here is a pure function of one micro-batch (the routing group) and a random key, so the
// decisions are the same in every layout.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "base/random.h"

namespace chorus::inline kernels {

/// Which tokens an expert keeps when more are routed to it than its capacity.
enum class TokenSelection {
  // First come: all first choices in order of position, then all second choices, as GShard and NLLB-MoE.
  position,
  // Batch-prioritised routing, as fairseq has it: all first choices, those of the tokens that are surest of theirs
  // first, then all second choices in the same order.
  probability,
  // Random token selection (RTS, 2109.10465 section 3.1): a uniform priority for each token and expert.
  random,
};

/// What decides under selection by probability: more for the earlier of k choices (from 0), and among these for the
/// token whose best expert is more probable.
constexpr float batch_priority(float best, int64_t choice, int64_t k) {
  return best + static_cast<float>(k - 1 - choice);
}

/// Which of N rows are tokens and no padding.
struct ActiveRows {
  at::Tensor flags;  // bool [N], where the rows lie; undefined: all are
  // How many are tokens, which the host knows without asking the device; unused where all are.
  int64_t count = 0;

  ActiveRows() = default;
  /// Takes flags on the host, which go to `device`.
  explicit ActiveRows(const at::Tensor& flags, at::Device device = at::kCPU);
  [[nodiscard]] int64_t among(int64_t rows) const { return flags.defined() ? count : rows; }
};

/// The decisions for N rows, k choices, E experts. The tensors lie where the probabilities do, and the host has not
/// waited for them.
struct Routing {
  int64_t capacity = 0;  // most choices that an expert takes
  int64_t tokens = 0;    // rows that are not padding
  // int64 [N, k]: chosen experts, most probable first (ties: lowest index); -1 for padding.
  at::Tensor experts;
  at::Tensor kept;      // int64 [N, k] the same with -1 where the choice was dropped
  at::Tensor assigned;  // int64 [E] choices before dropping; undefined on a device where nobody wants them

  /// Choices dropped, for which the host waits.
  [[nodiscard]] int64_t dropped() const;
};

struct RoutingOptions {
  int64_t top_k = 1;
  double capacity_factor = 0;  // 0: dropless
  TokenSelection selection = TokenSelection::position;
  // Above 0: an expert takes at most so many choices of each sentence of `sentence_length` rows, the first
  // ones, whatever factor and selection say.
  int64_t sentence_capacity = 0;
  int64_t sentence_length = 1;
  bool wants_assigned = true;  // Routing's, which a device has to count
};

/// ceil(factor k tokens / experts), at least 1; `tokens` when factor is 0.
int64_t expert_capacity(double factor, int64_t top_k, int64_t tokens, int64_t experts);

/// probabilities: [N, E], of which fp32 is looked at. The key serves random selection only.
Routing route(const at::Tensor& probabilities, const ActiveRows& active, const RoutingOptions& options,
              RandomKey key);

}  // namespace chorus::inline kernels
