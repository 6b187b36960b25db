// Products of two matrices over a dimension that both have, `depth`: all that a linear layer needs, forward
// and backward, for one row or many, in fp32 and bf16.
//
//   out = right left^T:   n rows of a layer's input times m rows of its weight; the gradient w.r.t. its input
//   out = left right^T:   the gradient w.r.t. its weight
//
// A register holds the same element of several rows of `right`; the elements of `left` are broadcast into it.
// So `right` is copied into panels of one to four vectors, transposed where its rows lie along depth. `left`
// is read where it lies if its rows lie along depth, as a weight's do forward: so few rows cost little more than
// reading it. Where they do not, have another type than what is multiplied, or would drive each other out of the
// first cache, 24 of them at a time are copied, by the tiles that multiply the 24 before.
//
// Every output is a chain of multiply-adds in the order of depth, one chain per 256 of it (512 of bf16 with
// bf16 arithmetic), and these are added up in their order. So a row has the same bits whatever else is in the
// product, however it is cut and by how many threads, and, but for bf16 arithmetic, with every instruction set.
#pragma once

#include <cstdint>

#include <c10/util/BFloat16.h>

namespace chorus::inline kernels {

/// Elements (i, k) at data[i * row + k * column]; one of the strides is 1. T: float or c10::BFloat16.
template <class T>
struct Strided {
  const T* data;
  int64_t row, column;
};

/// What becomes of the sums of out = right left^T, in this order.
struct Epilogue {
  const float* bias = nullptr;  // [m]; null: none
  bool relu = false;
  const float* residual = nullptr;  // [n, m], `residual_stride` from row to row; null: none
  int64_t residual_stride = 0;
};

/// left: [m, depth], right: [n, depth]. With bf16 arithmetic, if `left` is bf16 so is what is multiplied;
/// otherwise fp32 is. Sums are fp32. Both by as many threads as at::parallel_for gives them: one within a
/// parallel region.
template <class Left, class Right>
struct Product {
  int64_t m, n, depth;
  Strided<Left> left;
  Strided<Right> right;
};

/// out [n, m], `stride` elements from row to row, = right left^T.
template <class Left, class Right, class Out>
void product_by_right(const Product<Left, Right>& product, Out* out, int64_t stride,
                      const Epilogue& epilogue);

enum class Store {
  overwrite,
  add,
  stream,  // overwrite past the caches, where nobody reads soon
};

/// out [m, n], `stride` elements from row to row, = left right^T, or +=.
template <class T>
void product_by_left(const Product<T, T>& product, float* out, int64_t stride, Store store);

}  // namespace chorus::inline kernels
