// From the router's decisions (kernels/routing.h) to the weights of the choices; and back, from the gradient w.r.t.
// these weights and from the auxiliary losses to the router's logits.
//
// Everything here is a function of one micro-batch, the routing group.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/routing.h"

namespace chorus::inline kernels {

/// How the k chosen probabilities become gates.
enum class GateNormalization {
  none,         // the router's probability itself (Switch, Z-code M3 with top-1)
  before_drop,  // scaled to sum to 1 over the k choices, dropped or not
  after_drop,   // likewise over the choices that were kept (NLLB-MoE): a lone survivor gets weight 1
};

/// Returns the weights of the choices: [N, k], of the probabilities' type and device, 0 where dropped.
at::Tensor gates(const at::Tensor& probabilities, const Routing& routing, GateNormalization normalization);

/// Returns the gradient w.r.t. the probabilities [N, E], given that w.r.t. the result of gates() [N, k].
at::Tensor gates_backward(const at::Tensor& probabilities, const Routing& routing,
                          GateNormalization normalization, const at::Tensor& grad_gates);

/// Returns fp64 [E], where `assigned` (Routing) lies, such that the load-balancing loss E sum_e f_e P_e (2109.10465
/// section 2; Switch) is the inner product of this vector with the probabilities summed over the rows that are not
/// padding. So it is also the gradient w.r.t. the probabilities of each such row. f_e is the share of choices that
/// fall on e before dropping, P_e the mean probability. The loss is 1 when balanced, E at worst.
at::Tensor balance_loss_gradient(const at::Tensor& assigned, int64_t tokens, int64_t top_k);

/// What a loss of the router's own weighs: it enters by its gradient alone.
struct RouterLosses {
  double balance = 0;        // the load-balancing loss
  double z = 0;              // the mean over tokens of logsumexp(logits)^2
  at::Tensor log_partition;  // [N] logsumexp of the logits; undefined without z
};

/// Returns the gradient w.r.t. the logits [N, E], given that w.r.t. the result of gates() [N, k]; the auxiliary
/// losses of the rows that are tokens are included.
at::Tensor router_backward(const at::Tensor& probabilities, const Routing& routing,
                           GateNormalization normalization, const at::Tensor& grad_gates,
                           const ActiveRows& active, const RouterLosses& losses);

}  // namespace chorus::inline kernels
