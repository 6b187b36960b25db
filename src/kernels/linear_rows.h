// A linear layer for decoding: few rows, so that reading the weight is most of the work.
//
// The weight is read once, as it lies (row-major, also straight from a mapped file): no packing, no second
// copy. A sum is taken in the same order whatever the number of rows, so one row's result does not depend on
// the others. On CPUs with AVX-512, where libtorch's GEMMs are fast, products of more than 8 rows are theirs
// (bf16: with bf16 arithmetic only), and this holds but for rounding.
#pragma once

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

struct LinearRowsOptions {
  at::Tensor bias;      // as many elements as the weight has rows, of any floating type; undefined: none
  bool relu = false;    // after the bias
  at::Tensor residual;  // fp32 [n, m], added last; not `out`
};

/// out = relu(input weight^T + bias) + residual. input: fp32 [n, k], contiguous; weight: [m, k] (or more
/// dimensions, used as [rows, k]), contiguous, fp32 or bf16, on the CPU; out: fp32 [n, m], contiguous, not
/// overlapping `input`. Sums are fp32. On CPUs with bf16 arithmetic, bf16 weights and more than a few rows,
/// `input` is rounded to bf16 first. Bits differ between instruction sets. Records nothing for autograd.
void linear_rows(at::Tensor out, const at::Tensor& input, const at::Tensor& weight,
                 const LinearRowsOptions& options = {});
/// The same into a new tensor.
at::Tensor linear_rows(const at::Tensor& input, const at::Tensor& weight,
                       const LinearRowsOptions& options = {});

}  // namespace chorus::inline kernels
