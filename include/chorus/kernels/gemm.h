// Matrix products that libtorch's operators lack: of bf16 matrices into fp32, added in place.
//
// On machines with AVX-512-BF16 (or AMX) they run on oneDNN's micro-kernel through
// at::native::cpublas::brgemm, on packed blocks; elsewhere on the CPU in fp32. Results do not depend on the
// number of threads.
#pragma once

#include <ATen/core/Tensor.h>

namespace chorus {

/// target = a^T b, or += without `overwrite`. a: [n, rows], b: [n, columns] of one type; target: [rows,
/// columns], contiguous, of that type, or fp32 for bf16: then nothing is rounded to bf16 and no temporary of
/// target's size is made (CUDA: both). n may be 0.
void add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b, bool overwrite);

/// out = input weight^T. input: [n, k], weight: [m, k] of one type; out: [n, m], contiguous, of that type, or
/// fp32 for bf16: then the sums are not rounded to bf16 (CUDA: they are, before they are widened).
void wide_product(at::Tensor out, const at::Tensor& input, const at::Tensor& weight);

}  // namespace chorus
