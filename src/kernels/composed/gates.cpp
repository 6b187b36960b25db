#include "kernels/gates.h"

#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

struct GateParts {
  at::Tensor index;    // int64 [N, k]  experts, 0 in the place of none
  at::Tensor kept;     // [N, k]  1 where kept
  at::Tensor members;  // [N, k]  1 where the choice counts in the sum that normalises
  at::Tensor chosen;   // [N, k]  probabilities of the choices
  at::Tensor sum;      // [N, 1]  what the gates are divided by; undefined when not normalised
  at::Tensor moves;    // [N, 1]  1 where `sum` depends on the probabilities, 0 where it is at its lower bound
};

GateParts gate_parts(const at::Tensor& probabilities, const Routing& routing, GateNormalization kind) {
  GateParts parts;
  parts.index = routing.experts.clamp_min(0);
  parts.kept = routing.kept.ge(0).to(probabilities.scalar_type());
  parts.members = kind == GateNormalization::before_drop
                      ? routing.experts.ge(0).to(probabilities.scalar_type())
                      : parts.kept;
  parts.chosen = probabilities.gather(1, parts.index);
  if (kind != GateNormalization::none) {
    constexpr double kLeast = std::numeric_limits<float>::epsilon();
    parts.sum = (parts.chosen * parts.members).sum(1, true);
    parts.moves = parts.sum.ge(kLeast).to(probabilities.scalar_type());
    parts.sum.clamp_min_(kLeast);
  }
  return parts;
}

}  // namespace

at::Tensor Backend::gates(const at::Tensor& probabilities, const Routing& routing,
                          GateNormalization normalization) const {
  const GateParts parts = gate_parts(probabilities, routing, normalization);
  at::Tensor result = parts.chosen * parts.kept;
  return parts.sum.defined() ? result.div_(parts.sum) : result;
}

at::Tensor gates_backward(const at::Tensor& probabilities, const Routing& routing,
                          GateNormalization normalization, const at::Tensor& grad_gates) {
  const GateParts parts = gate_parts(probabilities, routing, normalization);
  at::Tensor grad_chosen = grad_gates * parts.kept;
  if (parts.sum.defined()) {
    const at::Tensor gate = parts.chosen * parts.kept / parts.sum;
    const at::Tensor grad_sum = (grad_chosen * gate).sum(1, true) * parts.moves;
    grad_chosen = (grad_chosen - grad_sum) * parts.members / parts.sum;
  }
  // scatter_add: rows of padding all point at expert 0, with a gradient of zero.
  return at::zeros_like(probabilities).scatter_add_(1, parts.index, grad_chosen);
}

at::Tensor balance_loss_gradient(const at::Tensor& assigned, int64_t tokens, int64_t top_k) {
  const auto rows = static_cast<double>(std::max<int64_t>(tokens, 1));
  const double choices = rows * static_cast<double>(top_k);
  return assigned.to(at::kDouble).mul_(static_cast<double>(assigned.numel())).div_(choices).div_(rows);
}

at::Tensor Backend::router_backward(const at::Tensor& probabilities, const Routing& routing,
                                    GateNormalization normalization, const at::Tensor& grad_gates,
                                    const ActiveRows& active, const RouterLosses& losses) const {
  at::Tensor grad = gates_backward(probabilities, routing, normalization, grad_gates);
  const at::Tensor tokens =
      active.flags.defined() ? active.flags.to(grad.scalar_type()).unsqueeze(1) : at::Tensor();
  if (losses.balance > 0) {
    const at::Tensor row = balance_loss_gradient(routing.assigned, routing.tokens, routing.experts.size(1))
                               .to(grad.scalar_type())
                               .mul_(losses.balance);
    tokens.defined() ? grad.addcmul_(tokens, row.unsqueeze(0)) : grad.add_(row);
  }
  at::Tensor by_logits = probabilities * (grad - (grad * probabilities).sum(1, true));
  if (losses.z > 0 && routing.tokens > 0) {
    const at::Tensor z =
        losses.log_partition.unsqueeze(1) * (2 * losses.z / static_cast<double>(routing.tokens));
    by_logits.addcmul_(tokens.defined() ? z * tokens : z, probabilities);
  }
  return by_logits;
}

}  // namespace chorus::inline kernels
