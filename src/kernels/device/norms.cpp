#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/device_norms.h"
#include "kernels/internal/launch.h"
#include "kernels/internal/types.h"

namespace chorus::inline kernels {

namespace {

template <class T>
NormedRowsOf<T> normed_of(const Launch& on, const at::Tensor& grad, const at::Tensor& rows,
                          const NormedRows& normed) {
  return {.grad = on.reads<T>(grad),
          .rows = on.reads<T>(rows),
          .mean = on.reads<float>(normed.mean),
          .scale = on.reads<float>(normed.scale),
          .width = rows.size(1)};
}

/// Returns the gradients w.r.t. the weight [d] and, where there is one, the bias [d], one behind the other.
at::Tensor sums_of(const at::Tensor& grad, const at::Tensor& rows, const NormedRows& normed) {
  const Segments segments = {.ends = nullptr, .groups = 1, .rows = rows.size(0)};
  const int64_t width = normed.mean.defined() ? 2 * rows.size(1) : rows.size(1);
  const at::TensorOptions options = normed.scale.options();
  const at::Tensor of_segments = at::empty({segments.count(), width}, options);
  at::Tensor sums = at::empty({width}, options);
  with_type(rows, [&]<class T>(T) {
    const Launch on("norm's sums", rows.device());
    on.teams(segments.count() * pieces_of(rows.size(1)),
             NormSegment<T>{.segments = segments,
                            .of = normed_of<T>(on, grad, rows, normed),
                            .sums = on.writes<float>(of_segments)});
  });
  const Launch on("sum of segments", rows.device());
  on.each(width, SumOfSegments{.of = segments,
                               .of_segments = on.reads<float>(of_segments),
                               .width = width,
                               .overwrite = true,
                               .sums = on.writes<float>(sums)});
  return sums;
}

/// Whether the kernels take it.
bool takes(const at::Tensor& rows, const NormScaling& s) {
  const at::ScalarType type = rows.scalar_type();
  return (type == at::kFloat || type == at::kBFloat16) && s.weight.scalar_type() == type &&
         (!s.bias.defined() || s.bias.scalar_type() == type);
}

}  // namespace

NormedRows DeviceBackend::norm_rows(const at::Tensor& rows, const NormScaling& s) const {
  if (!takes(rows, s)) return Backend::norm_rows(rows, s);
  const at::TensorOptions options = rows.options().dtype(at::kFloat);
  NormedRows normed = {.output = at::empty_like(rows),
                       .mean = s.bias.defined() ? at::empty({rows.size(0)}, options) : at::Tensor(),
                       .scale = at::empty({rows.size(0)}, options)};
  with_type(rows, [&]<class T>(T) {
    const Launch on("norm", rows.device());
    on.rows(rows.size(0), NormRow<T>{.rows = on.reads<T>(rows),
                                     .weight = on.reads<T>(s.weight),
                                     .bias = on.reads<T>(s.bias),
                                     .width = rows.size(1),
                                     .epsilon = static_cast<float>(s.epsilon),
                                     .out = on.writes<T>(normed.output),
                                     .mean = on.writes<float>(normed.mean),
                                     .scale = on.writes<float>(normed.scale)});
  });
  return normed;
}

NormGradients DeviceBackend::norm_rows_backward(const at::Tensor& given, const at::Tensor& rows,
                                                const NormedRows& normed, const NormScaling& s) const {
  if (!takes(rows, s)) return Backend::norm_rows_backward(given, rows, normed, s);
  const at::Tensor grad = given.contiguous();
  NormGradients by = {.rows = at::empty_like(rows), .weight = {}, .bias = {}};
  with_type(rows, [&]<class T>(T) {
    const Launch on("norm backward", rows.device());
    on.rows(rows.size(0), NormRowBackward<T>{.of = normed_of<T>(on, grad, rows, normed),
                                             .weight = on.reads<T>(s.weight),
                                             .by_rows = on.writes<T>(by.rows)});
  });
  const at::Tensor sums = sums_of(grad, rows, normed);
  by.weight = sums.narrow(0, 0, rows.size(1));
  if (s.bias.defined()) by.bias = sums.narrow(0, rows.size(1), rows.size(1));
  return by;
}

}  // namespace chorus::inline kernels
