// Label-smoothed cross-entropy of rows of logits, and its gradient.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus {

struct CrossEntropyOptions {
  double label_smoothing = 0;  // epsilon
  double gradient_scale = 1;
};

/// One number a row.
struct CrossEntropyRows {
  std::vector<double> nll;    // -log p(label)
  std::vector<double> loss;   // (1 - epsilon) nll + epsilon mean_v(-log p(v))
  std::vector<bool> correct;  // no other entry is greater than the label's
};

/// logits: contiguous [R, V] of fp32 or fp64, in which the softmax is computed. labels: int64 [R], each in
/// [0, V), unchecked, on the device of the logits. gradient: undefined, or contiguous [R, V] of the logits'
/// type or bf16, which receives the gradient of gradient_scale * loss; it may be `logits`. A row that holds a
/// NaN has a loss that is not finite.
CrossEntropyRows cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                    const CrossEntropyOptions& options, at::Tensor gradient = {});

}  // namespace chorus
