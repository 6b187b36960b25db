#include <ATen/ops/index_select.h>
#include <ATen/ops/zeros.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

/// rows[slot], zeros where slot is -1: [N, k, d] in the type of sums.
at::Tensor chosen_rows(const at::Tensor& rows, const at::Tensor& slot) {
  const std::vector<int64_t> shape = {slot.size(0), slot.size(1), rows.size(1)};
  if (rows.size(0) == 0) {
    return at::zeros(shape, rows.options().dtype(sum_type(rows)));
  }
  const at::Tensor picked = at::index_select(rows, 0, slot.clamp_min(0).view(-1)).to(sum_type(rows));
  return picked.view(shape).masked_fill((slot < 0).unsqueeze(-1), 0);
}

}  // namespace

at::ScalarType sum_type(const at::Tensor& rows) {
  return rows.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

void Backend::gather_rows(const at::Tensor& x, const at::Tensor& index, const at::Tensor& out) const {
  at::Tensor target = out;
  at::index_select_out(target, x, 0, index);
}

at::Tensor Backend::combine_rows(const at::Tensor& rows, const at::Tensor& slot,
                                 const at::Tensor& weight) const {
  return (chosen_rows(rows, slot) * weight.unsqueeze(-1)).sum(1).to(rows.scalar_type());
}

at::Tensor Backend::sum_rows(const at::Tensor& rows, const at::Tensor& slot,
                             const RowsElsewhere& elsewhere) const {
  if (elsewhere.rows.defined()) rows.narrow(0, elsewhere.first, elsewhere.rows.size(0)).copy_(elsewhere.rows);
  return chosen_rows(rows, slot).sum(1).to(rows.scalar_type());
}

}  // namespace chorus::inline kernels
