// Dropout whose mask is a pure function of a key and the element's index: nothing is stored for backward, and
// neither threads nor recomputation change it.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/random.h"

namespace chorus::inline kernels {

/// A tensor as a slice of a larger one along a dimension: its elements are numbered as they are in the larger
/// one.
struct SliceOf {
  int64_t dimension = 0;
  int64_t first = 0, total = 0;  // total 0: it is no slice
};

/// input * mask / (1 - p), mask drawn from `key` by element index with a resolution of 2^-16 in p (0 <= p <
/// 1). The same call on the gradient is its backward. The mask is the same on every device.
at::Tensor dropout_by_key(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice = {});

/// Does the same for rows [n, f], contiguous, each with a key of its own (int64 [n], the bits of RandomKey::value(),
/// where the rows lie): a row is elements first .. first + f of those that its key draws for.
at::Tensor dropout_rows_by_key(const at::Tensor& rows, double p, const at::Tensor& keys, int64_t first);

/// input * (1 + epsilon * u), u uniform in [-1, 1) by element index: the router's input jitter. Its own
/// backward too.
at::Tensor jitter_by_key(const at::Tensor& input, double epsilon, RandomKey key);

}  // namespace chorus::inline kernels
