// Label-smoothed cross-entropy of rows of logits, and its gradient.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

struct CrossEntropyOptions {
  double label_smoothing = 0;  // epsilon
  double gradient_scale = 1;
};

/// The columns of what cross_entropy_rows() returns.
enum CrossEntropyColumn : int64_t {
  kNll,      // -log p(label)
  kLoss,     // (1 - epsilon) nll + epsilon mean_v(-log p(v))
  kCorrect,  // 1 where no other entry is greater than the label's, else 0
  kCrossEntropyColumns
};

/// logits: contiguous [R, V] of fp32 or fp64, in which the softmax is computed. labels: int64 [R], each in
/// [0, V), unchecked, on the device of the logits. gradient: undefined, or contiguous [R, V] of the logits'
/// type or bf16, which receives the gradient of gradient_scale * loss; it may be `logits`. -> fp64 [R,
/// kCrossEntropyColumns], where the logits lie. A row that holds a NaN has a loss that is not finite.
at::Tensor cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                              const CrossEntropyOptions& options, const at::Tensor& gradient = {});

// The same where this rank has only some columns of the logits, in three steps: what each rank has of each row, all
// ranks' parts together, and the rest.

/// Labels outside [0, V) are those of other parts. -> fp64 [R, 4], where the logits lie: of each row the largest logit,
/// the sum of exp(logit - largest), the sum of the logits, and the label's logit, -inf where it is in another part.
at::Tensor cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels);
/// parts: fp64 [ranks, R, 4] -> those of the whole rows, [R, 4].
at::Tensor join_cross_entropy_parts(const at::Tensor& parts);
/// parts: those of the whole rows, of `width` columns in all. The gradient is that by the columns here.
at::Tensor cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& parts,
                              int64_t width, const CrossEntropyOptions& options,
                              const at::Tensor& gradient = {});

// Rows of logits, at least, that are worth computing at a time: with fewer, the passes over the output layer's gradient
// cost more than the products.
inline constexpr int64_t kLeastLossRowsOnHost = 256, kLeastLossRowsOnDevice = 4096;

}  // namespace chorus::inline kernels
