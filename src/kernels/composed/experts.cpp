#include "kernels/experts.h"

#include <algorithm>
#include <initializer_list>
#include <optional>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/searchsorted.h>

#include "kernels/dropout.h"
#include "kernels/gemm.h"

#include "kernels/internal/backend.h"
#include "kernels/internal/composed.h"

namespace chorus::inline kernels {

bool can_be_grouped(std::initializer_list<at::Tensor> operands) {
  return std::ranges::all_of(operands, [](const at::Tensor& x) {
    const bool has_type = x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16;
    return has_type && x.size(-1) * x.element_size() % 16 == 0 && x.numel() > 0;
  });
}

namespace {

/// A layer's experts over its rows, of which those behind the last expert's are nobody's.
class ExpertProducts {
 public:
  explicit ExpertProducts(const Experts& experts, int64_t rows) : x_(experts) {
    const at::Tensor& ends = x_.order.ends;
    expert_ = at::searchsorted(ends, at::arange(rows, ends.options()), false, true);
  }

  /// Applies dropout to the activation's output or, in backward, to the gradient w.r.t. what dropout made of it.
  [[nodiscard]] at::Tensor dropped(const at::Tensor& rows) const {
    if (x_.dropout == 0) return rows;
    const at::Tensor own = x_.row_keys.view(-1).index_select(0, x_.order.token);
    return dropout_rows_by_key(rows, x_.dropout, derive_keys(own, expert_ + x_.first_expert), x_.first_inner);
  }

  /// rows [M, n] times each row's expert's weight, of which a linear layer's [m, n] is to be transposed: [M, m].
  [[nodiscard]] at::Tensor multiply(const at::Tensor& rows, const Parameter& weight, const Parameter* bias,
                                    bool transposed) {
    const at::Tensor& w = weight.value;
    if (can_be_grouped({rows, w})) {
      at::Tensor out = at::_grouped_mm(rows, transposed ? w.transpose(1, 2) : w, x_.order.ends);
      return bias ? out.add_(of_row(bias->value)) : out;
    }
    at::Tensor out = at::empty({rows.size(0), w.size(transposed ? 1 : 2)}, rows.options());
    for_experts([&](int64_t e, int64_t first, int64_t count) {
      const at::Tensor to = out.narrow(0, first, count), from = rows.narrow(0, first, count);
      if (count == 0) return;
      if (transposed) {
        linear_product(to, from, w[e], {.bias = bias ? bias->value[e] : at::Tensor()});
      } else {
        plain_product(to, from, w[e]);
      }
    });
    return out;
  }

  /// Returns the gradient w.r.t. the weight of each row's output [M], given those w.r.t. its hidden values and its
  /// output.
  [[nodiscard]] at::Tensor by_weight(const at::Tensor& by_hidden, const at::Tensor& hidden,
                                     const at::Tensor& by_output, const Parameter* bias) const {
    const at::ScalarType wide = sum_type(hidden);
    const at::Tensor sum = (by_hidden.to(wide) * hidden.to(wide)).sum(1);
    return bias ? sum + (by_output.to(wide) * of_row(bias->value)).sum(1) : sum;
  }

  /// Adds to the gradients of each expert's linear layer, or overwrites them. grad [M, m], input [M, n].
  void accumulate(const at::Tensor& grad, const at::Tensor& input, Parameter& weight, Parameter* bias,
                  bool overwrite) {
    if (can_be_grouped({grad, input})) {
      const at::Tensor sum = at::_grouped_mm(grad.t(), input, x_.order.ends);
      overwrite ? weight.gradient.copy_(sum) : weight.gradient.add_(sum);
    } else {
      for_experts([&](int64_t e, int64_t first, int64_t count) {
        if (count > 0) {
          add_product(weight.gradient[e], grad.narrow(0, first, count), input.narrow(0, first, count),
                      overwrite);
        } else if (overwrite && !x_.by_use) {
          weight.gradient[e].zero_();
        }
      });
    }
    if (bias) accumulate_bias(grad.to(bias->gradient.scalar_type()), *bias, overwrite);
  }

 private:
  /// Adds the gradients of biases as a product with the rows of each expert, which has one order of adding up.
  void accumulate_bias(const at::Tensor& grad, const Parameter& bias, bool overwrite) {
    const int64_t experts = bias.gradient.size(0);
    const at::Tensor of_expert = at::arange(experts, expert_.options()).unsqueeze(1).eq(expert_);
    const at::Tensor sums =
        of_expert.to(grad.scalar_type()).mm(grad.masked_fill(expert_.ge(experts).unsqueeze(1), 0));
    overwrite ? bias.gradient.copy_(sums) : bias.gradient.add_(sums);
  }

  /// [M, m]: each row's expert's values, of [E, m].
  [[nodiscard]] at::Tensor of_row(const at::Tensor& values) const {
    return values.index_select(0, expert_.clamp_max(values.size(0) - 1));
  }

  /// f(expert, first, count) for each expert and its rows, for which the host waits.
  void for_experts(const auto& f) {
    if (!rows_) rows_ = rows_of_experts(x_.order);
    for (int64_t e = 0; e < std::ssize(rows_->counts); ++e) f(e, rows_->offsets[e], rows_->counts[e]);
  }

  const Experts& x_;
  at::Tensor expert_;  // int32 [M] of each row
  std::optional<ExpertRows> rows_;
};

}  // namespace

ExpertRun Backend::run_experts(const Experts& x, const at::Tensor& input) const {
  const at::NoGradGuard plain;
  const MoeWeights& w = x.weights;
  ExpertProducts products(x, input.size(0));
  const at::Tensor kept = products.multiply(input, *w.fc1_weight, w.fc1_bias, true);
  const at::Tensor hidden = products.dropped(activate(x.activation, kept));
  return {.kept = kept,
          .output = products.multiply(hidden, *w.fc2_weight, x.adds_bias ? w.fc2_bias : nullptr, true)};
}

ExpertGradients Backend::run_experts_backward(const Experts& x, const at::Tensor& input,
                                              const at::Tensor& kept, const at::Tensor& grad,
                                              const at::Tensor& weight) const {
  const at::NoGradGuard plain;
  const MoeWeights& w = x.weights;
  const bool relu = x.activation == Activation::relu;
  ExpertProducts products(x, input.size(0));
  const at::Tensor hidden = products.dropped(relu ? kept : activate(x.activation, kept));
  const auto times_weight = [&](const at::Tensor& rows) {
    return (rows.to(weight.scalar_type()) * weight.unsqueeze(1)).to(rows.scalar_type());
  };
  const at::Tensor unweighted = products.multiply(grad, *w.fc2_weight, nullptr, false);
  const at::Tensor by_weight =
      products.by_weight(unweighted, hidden, grad, x.adds_bias ? w.fc2_bias : nullptr);
  const at::Tensor by_inner =
      activate_backward(x.activation, products.dropped(times_weight(unweighted)), kept);
  products.accumulate(by_inner, input, *w.fc1_weight, w.fc1_bias, w.begin_fc1());
  products.accumulate(times_weight(grad), hidden, *w.fc2_weight, w.fc2_bias, w.begin_fc2());
  return {.input = products.multiply(by_inner, *w.fc1_weight, nullptr, false), .weight = by_weight};
}

}  // namespace chorus::inline kernels
