#include "kernels/experts.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/repeat_interleave.h>

#include "kernels/dropout.h"
#include "kernels/gemm.h"

#include "kernels/internal/backend.h"
#include "kernels/internal/row_keys.h"

namespace chorus::inline kernels {

namespace {

/// f(expert, first, count) for each expert and its rows.
void for_experts(const ExpertOrder& order, const auto& f) {
  for (int64_t e = 0; e < std::ssize(order.counts); ++e) f(e, order.offsets[e], order.counts[e]);
}

/// The activation's output, or the gradient by it, after dropout: all rows at once.
at::Tensor dropped(const Experts& x, const at::Tensor& rows) {
  if (x.dropout == 0) return rows;
  const at::Tensor token = x.order.token.to(at::kCPU);
  std::vector<RandomKey> keys(token.numel());
  for_experts(x.order, [&](int64_t e, int64_t first, int64_t count) {
    derive_row_keys(x, e, token.const_data_ptr<int64_t>() + first, std::span(keys).subspan(first, count));
  });
  return dropout_rows_by_key(rows, x.dropout, keys, x.first_inner);
}

/// out [M, m] = rows [M, n] times each row's expert's weight, transposed where it is a linear layer's [m, n].
void multiply(const Experts& x, const at::Tensor& rows, const Parameter& weight, const Parameter* bias,
              bool transposed, const at::Tensor& out) {
  for_experts(x.order, [&](int64_t e, int64_t first, int64_t count) {
    if (count == 0) return;
    const at::Tensor to = out.narrow(0, first, count), from = rows.narrow(0, first, count);
    if (transposed) {
      linear_product(to, from, weight.value[e], {.bias = bias ? bias->value[e] : at::Tensor()});
    } else {
      plain_product(to, from, weight.value[e]);
    }
  });
}

/// Adds to the gradients of each expert's linear layer, or overwrites them.
void accumulate(const Experts& x, const at::Tensor& grad, const at::Tensor& input, Parameter& weight,
                Parameter* bias, bool overwrite) {
  for_experts(x.order, [&](int64_t e, int64_t first, int64_t count) {
    if (count > 0) {
      add_product(weight.gradient[e], grad.narrow(0, first, count), input.narrow(0, first, count), overwrite);
    } else if (overwrite && !x.by_use) {
      weight.gradient[e].zero_();
    }
  });
  if (!bias) return;
  // As a product with the rows of each expert, which has one order of adding up.
  const auto experts = static_cast<int64_t>(x.order.counts.size());
  const at::Tensor counts =
      at::from_blob(const_cast<int64_t*>(x.order.counts.data()), {experts}, at::kLong).to(grad.device());
  const at::Tensor number = at::arange(experts, counts.options());
  const at::Tensor of_row = at::repeat_interleave(number, counts, {}, grad.size(0));
  const at::Tensor sums = number.unsqueeze(1)
                              .eq(of_row)
                              .to(bias->gradient.scalar_type())
                              .mm(grad.to(bias->gradient.scalar_type()));
  overwrite ? bias->gradient.copy_(sums) : bias->gradient.add_(sums);
}

}  // namespace

ExpertRun Backend::run_experts(const Experts& x, const at::Tensor& input) const {
  const at::NoGradGuard plain;
  const MoeWeights& w = x.weights;
  ExpertRun run = {.kept = at::empty({input.size(0), w.fc1_weight->value.size(1)}, input.options()),
                   .output = at::empty_like(input)};
  multiply(x, input, *w.fc1_weight, w.fc1_bias, true, run.kept);
  const at::Tensor hidden = dropped(x, activate(x.activation, run.kept));
  multiply(x, hidden, *w.fc2_weight, x.adds_bias ? w.fc2_bias : nullptr, true, run.output);
  return run;
}

at::Tensor Backend::run_experts_backward(const Experts& x, const at::Tensor& input, const at::Tensor& kept,
                                         const at::Tensor& grad_output) const {
  const at::NoGradGuard plain;
  const MoeWeights& w = x.weights;
  const bool relu = x.activation == Activation::relu;
  const at::Tensor hidden = dropped(x, relu ? kept : activate(x.activation, kept));
  const at::Tensor by_hidden = at::empty_like(hidden);
  at::Tensor by_input = at::empty_like(input);
  multiply(x, grad_output, *w.fc2_weight, nullptr, false, by_hidden);
  const at::Tensor by_inner = activate_backward(x.activation, dropped(x, by_hidden), kept);
  multiply(x, by_inner, *w.fc1_weight, nullptr, false, by_input);
  accumulate(x, by_inner, input, *w.fc1_weight, w.fc1_bias, w.begin_fc1());
  accumulate(x, grad_output, hidden, *w.fc2_weight, w.fc2_bias, w.begin_fc2());
  return by_input;
}

}  // namespace chorus::inline kernels
