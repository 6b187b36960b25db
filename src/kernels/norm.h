// Norms of rows: layer normalisation (1607.06450), and the root-mean-square normalisation of T5 (1910.07467), which
// takes no mean off and has no bias.
#pragma once

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

/// What a norm multiplies and adds, each [d], of the rows' type.
struct NormScaling {
  at::Tensor weight;
  at::Tensor bias;  // undefined: root-mean-square normalisation
  double epsilon = 0;
};

struct NormedRows {
  at::Tensor output;       // as the rows
  at::Tensor mean, scale;  // of each row, [n] of fp32 (fp64 for fp64); `mean` is undefined without a bias
};

/// rows [n, d], contiguous -> (rows - mean) * scale * weight + bias, scale = 1 / sqrt(mean of squares + epsilon),
/// computed in fp32 (fp64 for fp64). Without a bias the scaled row is rounded to its type before it is multiplied by
/// the weight, as T5 does it.
NormedRows norm_rows(const at::Tensor& rows, const NormScaling& scaling);

/// Gradients: w.r.t. the rows [n, d], in their type; w.r.t. weight and bias [d], in the type of the sums. `bias` is
/// undefined where there is none.
struct NormGradients {
  at::Tensor rows, weight, bias;
};

/// Returns the gradients, given that w.r.t. the output [n, d], of the rows' type, and what norm_rows() returned for
/// the rows.
NormGradients norm_rows_backward(const at::Tensor& grad, const at::Tensor& rows, const NormedRows& normed,
                                 const NormScaling& scaling);

}  // namespace chorus::inline kernels
