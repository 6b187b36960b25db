// Combining rows through libtorch's operators: the path of devices other than the CPU, and the reference of
// the tests.
#pragma once

#include "chorus/kernels/rows.h"

namespace chorus {

/// The type sums over rows are taken in.
at::ScalarType sum_type(const at::Tensor& rows);

at::Tensor combine_rows_composed(const at::Tensor& rows, const at::Tensor& slot, const at::Tensor& weight);
std::pair<at::Tensor, at::Tensor> combine_rows_backward_composed(const at::Tensor& grad,
                                                                 const at::Tensor& rows,
                                                                 const at::Tensor& slot,
                                                                 const at::Tensor& weight);
at::Tensor sum_rows_composed(const at::Tensor& rows, const at::Tensor& slot);

}  // namespace chorus
