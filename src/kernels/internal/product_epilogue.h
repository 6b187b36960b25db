// What becomes of a row's sums: Epilogue (kernels/internal/product_kernel.h).
#pragma once

#include "kernels/cpu.h"

#include "kernels/internal/product_kernel.h"

namespace chorus::inline kernels {

/// out[0 .. count] = sums, and what follows, of outputs from `first` on of a row. Changes sums.
template <class Out>
CHORUS_INLINE inline void finish(float* sums, const Epilogue& e, int64_t row, int64_t first, int64_t count,
                                 Out* out) {
  if (e.bias)
    for (int64_t j = 0; j < count; ++j) sums[j] += e.bias[first + j];
  if (e.relu)
    for (int64_t j = 0; j < count; ++j) sums[j] = sums[j] < 0 ? 0 : sums[j];
  if (e.residual)
    for (int64_t j = 0; j < count; ++j) sums[j] += e.residual[row * e.residual_stride + first + j];
  for (int64_t j = 0; j < count; ++j) out[j] = narrow<Out>(sums[j]);
}

}  // namespace chorus::inline kernels
