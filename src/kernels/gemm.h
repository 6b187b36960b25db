// Matrix products as training needs them: a linear layer forward, its gradient by its input, and its gradient
// by its weight, added in place. fp32 sums of bf16 matrices where libtorch's operators round them to bf16.
//
// On machines with AVX-512-BF16 (or AMX) bf16 goes through libtorch's operators and, into fp32, through
// oneDNN's micro-kernel (at::native::cpublas::brgemm). On machines without, where oneDNN has nothing fast for
// bf16, products of bf16 run in fp32 blocks of our own (kernels/internal/blocked_product.h) at the speed of
// fp32, and so do fp32 products of few rows; with AVX-512 a weight's gradient is MKL's, in fp32. Results do
// not depend on the number of threads where the product is ours; within a parallel region each runs on the
// calling thread.
#pragma once

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

/// out = input weight^T + bias. input: [n, k], weight: [m, k], bias: [m] or undefined, of one type; out:
/// [n, m], contiguous, of that type.
void linear_product(const at::Tensor& out, const at::Tensor& input, const at::Tensor& weight,
                    const at::Tensor& bias);

/// out = a b. a: [n, k], b: [k, m] of one type; out: [n, m], contiguous, of that type.
void plain_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b);

/// target = a^T b, or += without `overwrite`. a: [n, rows], b: [n, columns] of one type; target: [rows,
/// columns], contiguous, of that type, or fp32 for bf16: then nothing is rounded to bf16 and no temporary of
/// target's size is made (CUDA: both). n may be 0.
void add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b, bool overwrite);

/// out = input weight^T. input: [n, k], weight: [m, k] of one type; out: [n, m], contiguous, of that type, or
/// fp32 for bf16: then the sums are not rounded to bf16 (CUDA: they are, before they are widened).
void wide_product(const at::Tensor& out, const at::Tensor& input, const at::Tensor& weight);

}  // namespace chorus::inline kernels
