// What drawing by key (kernels/dropout.h) has in common on every device.
#pragma once

#include <cmath>
#include <cstdint>

#include <ATen/WrapDimUtils.h>
#include <ATen/core/Tensor.h>

#include "kernels/dropout.h"

#include "kernels/internal/device_rows.h"

namespace chorus::inline kernels {

/// The probability of dropout, in the steps of 2^-16 in which it is drawn.
inline uint16_t threshold_of(double p) {
  return static_cast<uint16_t>(std::lround(p * 65536.0));
}

inline double keep_of(uint16_t threshold) {
  return 1.0 - threshold / 65536.0;
}

inline DropBy drop_by(double p) {
  const uint16_t threshold = threshold_of(p);
  return {.threshold = threshold, .scale = static_cast<float>(1.0 / keep_of(threshold))};
}

/// Stretches of memory that lie one after the other, and the numbers of their elements: those of stretch s begin at
/// first + s * distance.
struct Stretches {
  int64_t count = 1, length = 0, first = 0, distance = 0;
};

inline Stretches stretches_of(const at::Tensor& input, const SliceOf& slice) {
  Stretches stretches = {.length = input.numel()};
  if (slice.total == 0 || input.numel() == 0) return stretches;
  const int64_t dimension = at::maybe_wrap_dim(slice.dimension, input.dim());
  const int64_t width = c10::multiply_integers(input.sizes().slice(dimension + 1));
  stretches.length = input.size(dimension) * width;
  stretches.count = input.numel() / stretches.length;
  stretches.first = slice.first * width;
  stretches.distance = slice.total * width;
  return stretches;
}

}  // namespace chorus::inline kernels
