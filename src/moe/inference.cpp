#include "moe/inference.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>

#include "kernels/decoding.h"
#include "kernels/gemm.h"
#include "kernels/rows.h"

namespace chorus::inline moe {

at::Tensor moe_rows(const at::Tensor& hidden, const at::Tensor& residual, const MoeWeights& w,
                    const MoeConfig& config, Activation kind, ExpertSource* source, size_t block) {
  const int64_t experts = w.router->value.size(0);
  const at::Tensor probabilities = at::softmax(linear_product(hidden, w.router->matrix()), -1);
  const Routing routing = route(probabilities, {}, {.top_k = config.top_k}, RandomKey());
  const at::Tensor weight = gates(probabilities, routing, config.gate_normalization)
                                .mul_(1 - config.expert_output_dropout);  // the expectation of the dropout
  const ExpertOrder order = sort_by_expert(routing.kept, experts, routing.kept.numel());
  const ExpertRows sorted = rows_of_experts(order);
  const at::Tensor input = gather_rows(hidden, order.token);
  const at::Tensor output = at::empty(input.sizes(), input.options());
  const auto run = [&](int64_t e) {
    const auto rows = [&](const at::Tensor& all) {
      return all.narrow(0, sorted.offsets[e], sorted.counts[e]);
    };
    const bool relu = kind == Activation::relu;
    const at::Tensor inner =
        linear_product(rows(input), w.fc1_weight->matrix(e), {.bias = w.fc1_bias->value[e], .relu = relu});
    linear_product(rows(output), relu ? inner : activate_rows(kind, inner), w.fc2_weight->matrix(e),
                   {.bias = w.fc2_bias->value[e]});
  };
  if (source) {
    const std::unique_ptr<BorrowedExperts> loan = source->borrow(block, sorted.counts);
    for (const int64_t e : loan->order()) {
      loan->wait(e);
      run(e);
      loan->give_back(e);
    }
  } else {
    for (int64_t e = 0; e < experts; ++e)
      if (sorted.counts[e] > 0) run(e);
  }
  return combine_rows(output, order.slot, weight).add_(residual);
}

}  // namespace chorus::inline moe
