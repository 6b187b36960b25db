// Routing: from the router's probabilities to who computes what.
//
// Everything here is a pure function of one micro-batch (the routing group) and a random key, so the
// decisions are the same in every layout.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/base/random.h"
#include "chorus/moe/config.h"

namespace chorus {

/// The decisions for N rows, k choices, E experts. The tensors are on the CPU.
struct Routing {
  int64_t capacity = 0;  // choices an expert takes at most
  int64_t tokens = 0;    // rows that are not padding
  int64_t dropped = 0;   // choices dropped
  at::Tensor
      experts;      // int64 [N, k]  chosen experts, most probable first (ties: lowest index); -1 for padding
  at::Tensor kept;  // int64 [N, k]  the same with -1 where the choice was dropped
  std::vector<int64_t> assigned;  // [E] choices before dropping
};

struct RoutingOptions {
  int64_t top_k = 1;
  double capacity_factor = 0;  // 0: dropless
  TokenSelection selection = TokenSelection::position;
  // Above 0: an expert takes at most so many choices of each sentence of `sentence_length` rows, the first
  // ones, whatever factor and selection say.
  int64_t sentence_capacity = 0;
  int64_t sentence_length = 1;
};

/// ceil(factor k tokens / experts), at least 1; `tokens` when factor is 0.
int64_t expert_capacity(double factor, int64_t top_k, int64_t tokens, int64_t experts);

/// probabilities: fp32 [N, E] on the CPU. active: bool [N] on the CPU, false for padding; undefined: all are
/// active. The key serves random selection only.
Routing route(const at::Tensor& probabilities, const at::Tensor& active, const RoutingOptions& options,
              RandomKey key);

/// The weights of the choices: [N, k], of the probabilities' type and device, 0 where dropped.
at::Tensor gates(const at::Tensor& probabilities, const Routing& routing, GateNormalization normalization);

/// Gradient by the probabilities [N, E] from the gradient by gates() [N, k].
at::Tensor gates_backward(const at::Tensor& probabilities, const Routing& routing,
                          GateNormalization normalization, const at::Tensor& grad_gates);

/// [E] such that the load-balancing loss E sum_e f_e P_e (2109.10465 section 2; Switch) is the inner product
/// of this vector with the probabilities summed over the rows that are not padding, and so its gradient in
/// each such row. f_e is the share of choices that fall on e before dropping, P_e the mean probability. The
/// loss is 1 when balanced, E at worst.
std::vector<double> balance_loss_gradient(const Routing& routing);

}  // namespace chorus
