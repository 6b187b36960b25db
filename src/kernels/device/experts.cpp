#include "kernels/experts.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_grouped_mm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/composed.h"
#include "kernels/internal/device_columns.h"
#include "kernels/internal/device_rows.h"
#include "kernels/internal/drawing.h"
#include "kernels/internal/launch.h"
#include "kernels/internal/types.h"

namespace chorus::inline kernels {

namespace {

/// Whether grouped products take these operands.
bool are_kernels_of(const Experts& x, const at::Tensor& input) {
  const MoeWeights& w = x.weights;
  return can_be_grouped({input, w.fc1_weight->value, w.fc2_weight->value});
}

ExpertRowsOf rows_of(const Launch& on, const Experts& x) {
  return {.ends = on.reads<int32_t>(x.order.ends),
          .experts = x.order.ends.numel(),
          .keys = x.dropout > 0 ? on.reads<int64_t>(x.row_keys) : nullptr,
          .token = on.reads<int64_t>(x.order.token),
          .first_expert = x.first_expert,
          .first_inner = x.first_inner,
          .drop = drop_by(x.dropout)};
}

const at::Tensor& value_of(const Parameter* parameter) {
  static const at::Tensor none;
  return parameter ? parameter->value : none;
}

/// What the second product takes, from the first one [M, f'], which becomes what the activation keeps.
at::Tensor activated(const Experts& x, const at::Tensor& kept, const at::Tensor& bias) {
  const int64_t inner = x.weights.fc2_weight->value.size(2);
  const bool in_place = x.activation == Activation::relu && x.dropout == 0;
  at::Tensor out = in_place ? kept : at::empty({kept.size(0), inner}, kept.options());
  with_type(kept, [&]<class T>(T) {
    const Launch on("activate", kept.device());
    on.rows(kept.size(0), ActivateRow<T>{.of = rows_of(on, x),
                                         .activation = x.activation,
                                         .bias = on.reads<T>(bias),
                                         .inner = inner,
                                         .kept = on.writes<T>(kept),
                                         .out = on.writes<T>(out)});
  });
  return out;
}

/// Given the gradient w.r.t. the hidden values, as if all weights were 1, returns that w.r.t. the first product.
/// Writes by.weight, and multiplies the rows of `grad` by their weights.
at::Tensor activated_backward(const Experts& x, const at::Tensor& by_hidden, const at::Tensor& kept,
                              const at::Tensor& grad, const at::Tensor& weight, const ExpertGradients& by) {
  at::Tensor by_inner = is_gated(x.activation) ? at::empty_like(kept) : by_hidden;
  with_type(kept, [&]<class T>(T) {
    const Launch on("activate backward", kept.device());
    on.rows(kept.size(0),
            ActivateRowBackward<T>{.of = rows_of(on, x),
                                   .activation = x.activation,
                                   .by_hidden = on.reads<T>(by_hidden),
                                   .kept = on.reads<T>(kept),
                                   .inner = by_hidden.size(1),
                                   .width = grad.size(1),
                                   .bias = on.reads<T>(value_of(x.adds_bias ? x.weights.fc2_bias : nullptr)),
                                   .weight = on.reads<float>(weight),
                                   .by_output = on.writes<T>(grad),
                                   .by_inner = on.writes<T>(by_inner),
                                   .by_weight = on.writes<float>(by.weight)});
  });
  return by_inner;
}

/// Adds to the gradients of each expert's linear layer, or overwrites them. grad [M, m], input [M, n].
void accumulate(const Experts& x, const at::Tensor& grad, const at::Tensor& input, const Parameter& weight,
                const Parameter* bias, bool overwrite) {
  const at::Tensor sum = at::_grouped_mm(grad.t(), input, x.order.ends);
  with_type(sum, [&]<class T>(T) {
    const Launch on("add widened", grad.device());
    constexpr int64_t kPiece = AddWidened<T>::kPiece;
    on.teams((sum.numel() + kPiece - 1) / kPiece, AddWidened<T>{.from = on.reads<T>(sum),
                                                                .count = sum.numel(),
                                                                .overwrite = overwrite,
                                                                .to = on.writes<float>(weight.gradient)});
  });
  if (!bias) return;
  const int64_t experts = x.order.ends.numel(), width = grad.size(1);
  const auto segments = [&](const Launch& on) {
    return Segments{.ends = on.reads<int32_t>(x.order.ends), .groups = experts, .rows = grad.size(0)};
  };
  const int64_t count = Segments{.ends = nullptr, .groups = experts, .rows = grad.size(0)}.count();
  const at::Tensor of_segments = at::empty({count, width}, bias->gradient.options());
  with_type(grad, [&]<class T>(T) {
    const Launch on("sum of a segment", grad.device());
    on.teams(count * pieces_of(width), SumOfSegment<T>{.of = segments(on),
                                                       .width = width,
                                                       .rows = on.reads<T>(grad),
                                                       .sums = on.writes<float>(of_segments)});
  });
  const Launch on("sum of segments", grad.device());
  on.each(experts * width, SumOfSegments{.of = segments(on),
                                         .of_segments = on.reads<float>(of_segments),
                                         .width = width,
                                         .overwrite = overwrite,
                                         .sums = on.writes<float>(bias->gradient)});
}

}  // namespace

ExpertRun DeviceBackend::run_experts(const Experts& x, const at::Tensor& input) const {
  const MoeWeights& w = x.weights;
  if (!are_kernels_of(x, input)) return Backend::run_experts(x, input);
  const at::NoGradGuard plain;
  const at::Tensor kept = at::_grouped_mm(input, w.fc1_weight->value.transpose(1, 2), x.order.ends);
  const at::Tensor hidden = activated(x, kept, value_of(w.fc1_bias));
  at::Tensor output = at::_grouped_mm(hidden, w.fc2_weight->value.transpose(1, 2), x.order.ends);
  if (w.fc2_bias && x.adds_bias) {
    with_type(output, [&]<class T>(T) {
      const Launch on("add bias", output.device());
      on.rows(output.size(0), AddBiasRow<T>{.ends = on.reads<int32_t>(x.order.ends),
                                            .experts = x.order.ends.numel(),
                                            .width = output.size(1),
                                            .bias = on.reads<T>(w.fc2_bias->value),
                                            .rows = on.writes<T>(output)});
    });
  }
  return {.kept = kept, .output = output};
}

ExpertGradients DeviceBackend::run_experts_backward(const Experts& x, const at::Tensor& input,
                                                    const at::Tensor& kept, const at::Tensor& grad,
                                                    const at::Tensor& weight) const {
  const MoeWeights& w = x.weights;
  if (!are_kernels_of(x, input)) return Backend::run_experts_backward(x, input, kept, grad, weight);
  const at::NoGradGuard plain;
  const bool same = x.activation == Activation::relu && x.dropout == 0;
  const at::Tensor hidden = same ? kept : activated(x, kept, {});
  const at::Tensor by_hidden = at::_grouped_mm(grad, w.fc2_weight->value, x.order.ends);
  ExpertGradients by = {.input = {}, .weight = at::empty_like(weight)};
  const at::Tensor by_inner = activated_backward(x, by_hidden, kept, grad, weight, by);
  accumulate(x, by_inner, input, *w.fc1_weight, w.fc1_bias, w.begin_fc1());
  accumulate(x, grad, hidden, *w.fc2_weight, w.fc2_bias, w.begin_fc2());
  by.input = at::_grouped_mm(by_inner, w.fc1_weight->value, x.order.ends);
  return by;
}

}  // namespace chorus::inline kernels
