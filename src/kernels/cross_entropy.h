// Label-smoothed cross-entropy of rows of logits, and its gradient.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

struct CrossEntropyOptions {
  double label_smoothing = 0;  // epsilon
  double gradient_scale = 1;
};

/// One number per row.
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
                                    const CrossEntropyOptions& options, const at::Tensor& gradient = {});

/// The same where this rank has only some columns of the logits, in two steps: first the sums of each row,
/// to be added up over all ranks that have parts of it, then the rest.
struct CrossEntropyPart {
  double max = 0;           // of the row's logits
  double exponentials = 0;  // sum of exp(logit - max)
  double sum = 0;           // of the logits
  double label = 0;         // the label's logit; -inf where it is in another part

  /// The sums over both parts together.
  void add(const CrossEntropyPart& other);
};
/// Labels outside [0, V) are those of other parts.
std::vector<CrossEntropyPart> cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels);
/// `rows`: the sums over all `width` columns. The gradient is that by the columns here.
CrossEntropyRows cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                    std::span<const CrossEntropyPart> rows, int64_t width,
                                    const CrossEntropyOptions& options, const at::Tensor& gradient = {});

}  // namespace chorus::inline kernels
