// Products of fp32 and bf16 matrices by one thread, with sums in fp32, for what the machine's libraries do
// badly: products of few rows, and bf16 on CPUs without bf16 arithmetic (there oneDNN falls back to a
// reference path, some fifty times slower than fp32).
//
// Both operands are copied in blocks, widened to fp32, into the order in which a register tile reads them;
// what is copied stays in the core's cache while it is used.
#pragma once

#include <cstdint>

#include <c10/util/BFloat16.h>

namespace chorus::inline kernels {

/// Elements (i, j) at data[i * row + j * column]; one of the strides is 1.
template <class T>
struct Strided {
  const T* data;
  int64_t row, column;
};

enum class Store {
  overwrite,
  add,
  stream,  // overwrite past the caches: for a weight's gradient, which nobody reads soon
};

/// c [m, n], `c_stride` elements from row to row, = a [m, depth] b [depth, n], or +=. T: float or
/// c10::BFloat16.
template <class T>
struct BlockedProduct {
  int64_t m, n, depth;
  Strided<T> a, b;
  float* c;
  int64_t c_stride;
  Store store;
};

/// Every element is a chain of fused multiply-adds in the order of depth, one chain per 256 of depth: however
/// c is cut, and with every instruction set, it gets the same bits.
template <class T>
void blocked_product(const BlockedProduct<T>& product);

}  // namespace chorus::inline kernels
