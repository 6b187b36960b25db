// A weight as the layers see it: its value, and the kept buffer in which its gradient accumulates.
//
// Gradients do not travel through autograd's leaves. Each function that uses a weight adds that weight's
// gradient to the buffer itself, during backward; the buffer lives across steps, so no page is touched for
// the first time twice, and the first contribution of a step overwrites, so no pass zeroes it.
#pragma once

#include <cstddef>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/quantized.h"

namespace chorus::inline kernels {

struct Parameter {
  // In the compute type; requires_grad when training, so that autograd records the functions using it. Or quantized,
  // which is only read: uint8 [blocks, bytes], of a stack [slices, blocks, bytes].
  at::Tensor value;
  at::Tensor gradient;        // fp32 (fp64 for fp64 values), same shape; undefined when not training
  bool has_gradient = false;  // false: nothing of this step has been written into `gradient` yet
  Quantization quantization = Quantization::none;
  int64_t rows = 0, depth = 0;  // of a quantized weight, or one in pieces; of a stack, of each slice
  // fp64 [slices, depth], or [1, depth]: where it is defined, passes forward on the host add the squares of what is
  // multiplied with the weight, column by column. Of a stack of experts each slice has its own.
  at::Tensor input_squares;
  // Of a stack whose slices lie here and there, in place of `value`: each slice, undefined while it is not in memory.
  std::vector<at::Tensor> pieces;

  /// Makes it a quantized weight: blocks as `value` above.
  void set_quantized(at::Tensor blocks, Quantization type, int64_t row_count, int64_t columns);
  /// Makes it a stack of so many pieces, none of them in memory, each of that shape.
  void set_pieces(size_t count, Quantization type, int64_t row_count, int64_t columns);
  /// Adds the squares of input [n, depth] to input_squares[slice], if that is defined. Not for several threads at
  /// once.
  void observe(const at::Tensor& input, int64_t slice = 0) const;
  /// Returns the weight as products read it; a stack's slices one below the other (quantized ones of whole blocks of
  /// rows).
  [[nodiscard]] Matrix matrix() const;
  /// Returns slice i of a stack.
  [[nodiscard]] Matrix matrix(int64_t i) const;
  /// Rows of each slice of a stack of matrices.
  [[nodiscard]] int64_t slice_rows() const {
    return quantization == Quantization::none && pieces.empty() ? value.size(1) : rows;
  }

  /// Adds `contribution` (any floating type, same shape) to the gradient.
  void accumulate(const at::Tensor& contribution);
  /// Adds a^T b, a: [n, rows], b: [n, columns], to the gradient of a [rows, columns] weight, without a
  /// temporary where the types allow.
  void accumulate_product(const at::Tensor& a, const at::Tensor& b);
  /// Marks the gradient of a stacked weight as present, whose slices the caller adds to one by one. Returns whether
  /// each slice must be overwritten (true) or added to (false).
  bool begin_slices();
};

}  // namespace chorus::inline kernels
