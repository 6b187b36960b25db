// Weights in int8 and int4, for products on the host (kernels/gemm.h) that read less memory and compute faster
// than fp32.
//
// A quantized weight [m, k] is symmetric: an element is q scale, with one scale, in bf16, per row and group of 64
// elements along k; q is -127 .. 127 in int8, -8 .. 7 in int4 (where the scale may be negative, so that the largest
// element of a group is -8 of it). What is multiplied with it is quantized likewise, row by row when it comes: in
// int8, with a scale in fp32 per row and group. So
//
//   out[n][i] = sum over groups of (scale_x[n][group] scale_w[i][group]) * sum over the group of q_x q_w
//
// where the inner sums are exact, in int32, and the outer one is a chain of fp32 multiply-adds in the order of the
// groups: the same bits whatever else is in the product, with any number of threads and every instruction set.
//
// In memory, and in files, it is uint8 [ceil(m / 16), bytes], where a row is a block of 16 rows of the weight:
//
//   scales  bf16 [ceil(k / 64)][16 rows], and zeros up to a whole multiple of 64 bytes
//   values  int8: [ceil(k / 64)][16][16 rows][4 elements], q + 128 each
//           int4: [ceil(k / 64)][8][16 rows][4 elements], q + 8 each: in the low halves of a line of 64 bytes the
//                 elements of the 4 columns 8 i .. 8 i + 3, in the high halves those of 8 i + 4 .. 8 i + 7
//
// Beyond m and k all scales are 0, and q too. Four neighbours in a row of one line are what VNNI multiplies with
// four of the input; AVX2 widens them. One layout serves one row of input and many.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

enum class Quantization : uint8_t { none, int8, int4 };

inline constexpr int64_t kQuantizedRows = 16;   // of a block
inline constexpr int64_t kQuantizedGroup = 64;  // elements with one scale

/// Shape of the quantized form of a weight [rows, depth].
std::vector<int64_t> quantized_shape(int64_t rows, int64_t depth, Quantization type);

/// A weight [rows, depth] as products read it.
struct Matrix {
  /// Makes a matrix of floating type [rows, depth], or more dimensions, used as that.
  Matrix(const at::Tensor& values);  // NOLINT(google-explicit-constructor)
  /// Makes one in quantized form: uint8, of quantized_shape(), or several of them one after the other (each but the
  /// last of whole blocks of rows).
  Matrix(at::Tensor blocks, Quantization type, int64_t rows, int64_t depth);

  at::Tensor values;  // [rows, depth], or uint8 [blocks, bytes]
  Quantization quantization = Quantization::none;
  int64_t rows = 0, depth = 0;
};

/// weight: [m, k] of any floating type, on the host. importance: fp32 [k], how much the square of an error of each
/// column counts when scales are chosen, the mean square of what is multiplied with it being the best; undefined: all
/// alike. NaN and infinities are an Error.
at::Tensor quantize(const at::Tensor& weight, Quantization type, const at::Tensor& importance = {});

/// The rows of a weight with these numbers (int64 [n], unchecked), in fp32 [n, depth].
at::Tensor select_rows(const Matrix& weight, const at::Tensor& ids);
/// Returns the same as a weight of its own [n, depth], of weight's type: a product with it has the bits of these
/// columns of the whole weight's.
Matrix take_rows(const Matrix& weight, const at::Tensor& ids);
/// All of them.
at::Tensor dequantize(const Matrix& weight);

/// Whether all scales are finite.
bool has_finite_scales(const Matrix& weight);

}  // namespace chorus::inline kernels
