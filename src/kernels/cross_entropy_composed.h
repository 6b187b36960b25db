// Cross-entropy through libtorch's operators: the path of devices other than the CPU, and the reference of
// the tests.
#pragma once

#include "chorus/kernels/cross_entropy.h"

namespace chorus {

CrossEntropyRows cross_entropy_rows_composed(const at::Tensor& logits, const at::Tensor& labels,
                                             const CrossEntropyOptions& options,
                                             const at::Tensor& gradient = {});

}  // namespace chorus
