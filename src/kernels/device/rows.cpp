#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/device_rows.h"
#include "kernels/internal/drawing.h"
#include "kernels/internal/launch.h"
#include "kernels/internal/types.h"

namespace chorus::inline kernels {

namespace {

/// Undefined for types that have no kernel. weight: undefined for all of 1.
at::Tensor combined(const at::Tensor& given, const at::Tensor& slots, const at::Tensor& weight,
                    const RowsElsewhere& elsewhere) {
  const at::Tensor rows = given.contiguous(), slot = slots.contiguous();
  at::Tensor out = at::empty({slot.size(0), rows.size(1)}, rows.options());
  const bool done = with_type(rows, [&]<class T>(T) {
    const Launch on("combine rows", rows.device());
    on.rows(slot.size(0),
            CombineRow<T>{.rows = on.reads<T>(rows),
                          .slot = on.reads<int64_t>(slot),
                          .weight = on.reads<float>(weight),
                          .elsewhere = on.reads<T>(elsewhere.rows),
                          .first = elsewhere.first,
                          .end = elsewhere.first + (elsewhere.rows.defined() ? elsewhere.rows.size(0) : 0),
                          .k = slot.size(1),
                          .width = rows.size(1),
                          .out = on.writes<T>(out)});
  });
  return done ? out : at::Tensor();
}

/// Undefined for types that have no kernel. keys: undefined where `key` serves all stretches.
template <class By>
at::Tensor drawn(const at::Tensor& input, const By& by, RandomKey key, const at::Tensor& keys,
                 const Stretches& s) {
  const at::Tensor in = input.contiguous();
  at::Tensor out = at::empty_like(in);
  const bool done = with_type(in, [&]<class T>(T) {
    const Launch on("draw", in.device());
    const DrawStretch<T, By> body = {.in = on.reads<T>(in),
                                     .out = on.writes<T>(out),
                                     .by = by,
                                     .key = key,
                                     .keys = on.reads<int64_t>(keys),
                                     .length = s.length,
                                     .first = s.first,
                                     .distance = s.distance};
    on.teams(s.count * ((s.length + body.kPiece - 1) / body.kPiece), body);
  });
  return done ? out : at::Tensor();
}

}  // namespace

at::Tensor DeviceBackend::combine_rows(const at::Tensor& rows, const at::Tensor& slot,
                                       const at::Tensor& weight) const {
  const at::Tensor out = combined(rows, slot, weight, {});
  return out.defined() ? out : Backend::combine_rows(rows, slot, weight);
}

at::Tensor DeviceBackend::sum_rows(const at::Tensor& rows, const at::Tensor& slot,
                                   const RowsElsewhere& elsewhere) const {
  const at::Tensor out = combined(rows, slot, {}, elsewhere);
  return out.defined() ? out : Backend::sum_rows(rows, slot, elsewhere);
}

at::Tensor DeviceBackend::dropout(const at::Tensor& input, double p, RandomKey key,
                                  const SliceOf& slice) const {
  const at::Tensor out = drawn(input, drop_by(p), key, {}, stretches_of(input, slice));
  return out.defined() ? out : Backend::dropout(input, p, key, slice);
}

at::Tensor DeviceBackend::dropout_rows(const at::Tensor& rows, double p, const at::Tensor& keys,
                                       int64_t first) const {
  const at::Tensor out = drawn(rows, drop_by(p), RandomKey(), keys.contiguous(),
                               {.count = rows.size(0), .length = rows.size(1), .first = first});
  return out.defined() ? out : Backend::dropout_rows(rows, p, keys, first);
}

at::Tensor DeviceBackend::jitter(const at::Tensor& input, double epsilon, RandomKey key) const {
  const JitterBy by = {.low = static_cast<float>(1 - epsilon), .step = static_cast<float>(epsilon / 32768)};
  const at::Tensor out = drawn(input, by, key, {}, {.length = input.numel()});
  return out.defined() ? out : Backend::jitter(input, epsilon, key);
}

}  // namespace chorus::inline kernels
