// From the router's decisions (kernels/routing.h) to the weights of the choices and the auxiliary losses.
//
// Everything here is a function of one micro-batch, the routing group.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/routing.h"
#include "moe/config.h"

namespace chorus::inline moe {

/// The weights of the choices: [N, k], of the probabilities' type and device, 0 where dropped.
at::Tensor gates(const at::Tensor& probabilities, const Routing& routing, GateNormalization normalization);

/// Gradient by the probabilities [N, E] from the gradient by gates() [N, k].
at::Tensor gates_backward(const at::Tensor& probabilities, const Routing& routing,
                          GateNormalization normalization, const at::Tensor& grad_gates);

/// fp64 [E], where `assigned` (Routing) lies, such that the load-balancing loss E sum_e f_e P_e (2109.10465 section 2; Switch) is the inner product
/// of this vector with the probabilities summed over the rows that are not padding, and so its gradient in
/// each such row. f_e is the share of choices that fall on e before dropping, P_e the mean probability. The
/// loss is 1 when balanced, E at worst.
at::Tensor balance_loss_gradient(const at::Tensor& assigned, int64_t tokens, int64_t top_k);

}  // namespace chorus::inline moe
