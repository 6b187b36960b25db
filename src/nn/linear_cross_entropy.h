// The output layer and its loss in one: the logits of some rows at a time, never of a whole batch,
// and the gradients from each such chunk before the next one takes its place.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/parameter.h"
#include "nn/functions.h"

namespace chorus::inline nn {

struct LinearCrossEntropyOptions {
  int64_t ignore = 1;          // label of rows where nothing is predicted (kPad)
  double label_smoothing = 0;  // epsilon
  double gradient_scale = 1;   // gradients are of gradient_scale * loss
  bool gradient = false;       // training: add the gradients of weight and bias, return that w.r.t. hidden
  Parameter* bias = nullptr;   // [V], or of as many elements; null: none
  VocabularyCut cut;           // the weight holds a part of the vocabulary; all its ranks have the same rows
};

/// Of the rows that are not ignored. Nobody has waited for the device yet.
struct LinearCrossEntropy {
  int64_t tokens = 0;
  at::Tensor grad_hidden;  // [N, d] in hidden's type, 0 in ignored rows; undefined without options.gradient
  std::vector<int64_t> predicted;  // [tokens] which of the N rows they are
  at::Tensor rows;                 // fp64 [tokens, kCrossEntropyColumns] of each, on the device

  struct Sums {
    double loss = 0;  // (1 - epsilon) nll + epsilon mean_v(-log p(v)): epsilon spread over all of V, as in
                      // PyTorch's label smoothing (fairseq's now spreads it over the others)
    double nll = 0;   // -log p(label)
    int64_t correct = 0;   // rows whose label no other entry exceeds
    at::Tensor token_nll;  // fp32 [N] on the CPU, 0 in ignored rows; undefined unless asked for
  };
  /// Waits for the device. all_rows: N, where token_nll is asked for.
  [[nodiscard]] Sums sums(std::optional<int64_t> all_rows = {}) const;
};

/// hidden: [N, d] of fp32, bf16 or fp64. weight: [V, d] of the same type. labels: int64 on the host, N elements of
/// any shape. Logits are computed in that type, the softmax in fp32 (fp64 for fp64). Records nothing for
/// autograd. Without a predicted row the weight's gradient is left alone. Error when a label lies outside [0,
/// V).
LinearCrossEntropy linear_cross_entropy(const at::Tensor& hidden, Parameter& weight, const at::Tensor& labels,
                                        const LinearCrossEntropyOptions& options);

/// Rows whose logits, `vocabulary` each, are held at a time, of `rows` that fall into chunks of nearly one size. Each
/// has at least `least` (kLeastLossRowsOnHost or kLeastLossRowsOnDevice) where there are as many, so with a large
/// vocabulary up to 2 least - 1; the last may have one fewer per other chunk.
int64_t chunk_rows(int64_t rows, int64_t vocabulary, int64_t least);

}  // namespace chorus::inline nn
