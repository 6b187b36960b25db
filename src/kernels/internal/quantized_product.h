// The product of rows with a quantized weight; its arithmetic and layout: kernels/quantized.h.
#pragma once

#include "kernels/quantized.h"

#include "kernels/internal/product_kernel.h"

namespace chorus::inline kernels {

// Bytes of a quantized weight.

constexpr int64_t quantized_groups(int64_t depth) {
  return (depth + kQuantizedGroup - 1) / kQuantizedGroup;
}
/// Of the values of a block's group.
constexpr int64_t quantized_group_bytes(Quantization type) {
  return kQuantizedRows * kQuantizedGroup / (type == Quantization::int4 ? 2 : 1);
}
/// What is added to q, so that it is not negative.
constexpr int32_t quantized_zero(Quantization type) {
  return type == Quantization::int4 ? 8 : 128;
}
/// Of a block's scales.
constexpr int64_t quantized_scale_bytes(int64_t depth) {
  return (quantized_groups(depth) + 1) / 2 * 64;
}

/// out [n, weight.rows], `stride` elements from row to row, = input weight^T and what follows (Epilogue). input: [n,
/// weight.depth], `input_stride` elements from row to row. In, Out: float or c10::BFloat16.
template <class In, class Out>
void quantized_product(const In* input, int64_t input_stride, int64_t n, const Matrix& weight, Out* out,
                       int64_t stride, const Epilogue& epilogue);

}  // namespace chorus::inline kernels
