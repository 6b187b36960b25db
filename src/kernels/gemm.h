// Matrix products as linear layers need them: forward, the gradient with respect to the input, and the gradient with
// respect to the weight, which is added in place; for one row or many, in training and in decoding.
//
// On the host they are our own (kernels/internal/product_kernel.h), at the speed of the processor's arithmetic
// from some 32 rows on and of its memory below: no weight is copied forward. Sums are fp32. With AVX-512-BF16
// what has a bf16 weight is multiplied in bf16, otherwise bf16 costs what fp32 does. A row has the same bits
// whatever else is in the product and with any number of threads; within a parallel region each product runs
// on the calling thread. Elsewhere, and in fp64, they are libtorch's.
#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/quantized.h"

namespace chorus::inline kernels {

struct LinearOptions {
  at::Tensor bias;      // [m], or of as many elements, of any floating type; undefined: none
  bool relu = false;    // after the bias
  at::Tensor residual;  // [n, m], fp32 as `out` then is, added last; not `out`
};

/// Computes out = relu(input weight^T + bias) + residual. input: [n, k] of weight's type or fp32; weight: [m, k] (or
/// more dimensions, used as [m, k]), or quantized (kernels/quantized.h: fp32 or bf16 input, on the host); out: [n,
/// m], with unit stride along m, of input's type, or fp32. With an input of fp32 and a weight of bf16, bf16
/// arithmetic rounds the input first. Elsewhere than on the host and CUDA sums of bf16 are rounded before they are
/// widened to an `out` in fp32. Records nothing for autograd.
void linear_product(const at::Tensor& out, const at::Tensor& input, const Matrix& weight,
                    const LinearOptions& options = {});
/// Computes the same into a new tensor of input's type.
at::Tensor linear_product(const at::Tensor& input, const Matrix& weight, const LinearOptions& options = {});

/// Computes out = a b. a: [n, k], b: [k, m] of one type; out: [n, m], contiguous, of that type.
void plain_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

/// Computes target = a^T b, or += without `overwrite`. a: [n, rows], b: [n, columns] of one type; target: [rows,
/// columns], contiguous, fp32 (fp64 for fp64). Of bf16 nothing is rounded on the host and on CUDA, and on the host no
/// temporary of target's size is made. n may be 0.
void add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b, bool overwrite);

}  // namespace chorus::inline kernels
