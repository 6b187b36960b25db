// Dropout whose mask is a pure function of a key and the element's index: nothing is stored for backward, and
// neither threads nor recomputation change it.
#pragma once

#include <ATen/core/Tensor.h>

#include "chorus/base/random.h"

namespace chorus {

/// input * mask / (1 - p), mask drawn from `key` by element index with a resolution of 2^-16 in p (0 <= p <
/// 1). The same call on the gradient is its backward. On CUDA the mask comes from a generator seeded by the
/// key: as repeatable, but not the same mask as on the CPU.
at::Tensor dropout_by_key(const at::Tensor& input, double p, RandomKey key);

/// input * (1 + epsilon * u), u uniform in [-1, 1) by element index: the router's input jitter. Its own
/// backward too.
at::Tensor jitter_by_key(const at::Tensor& input, double epsilon, RandomKey key);

}  // namespace chorus
