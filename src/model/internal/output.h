// The last product of a decoding step: from rows of the decoder to logits, of all tokens or of each sentence's
// candidates.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/quantized.h"
#include "model/candidates.h"

namespace chorus::inline model {

/// Rows of an output matrix, as StepDecoder::take_tokens() returns them.
std::shared_ptr<const SharedTokens> take_rows_of(const Matrix& output, std::vector<int32_t> tokens);

class OutputLayer {
 public:
  /// output: [V, d]; bias: of V elements, undefined: none. `candidates` as StepDecoder::start() takes them.
  OutputLayer(Matrix output, at::Tensor bias, std::vector<Candidates> candidates);

  /// Logits as Decoding::step() returns them, which the next call may overwrite, of rows [n, d], those of a sentence
  /// together.
  at::Tensor operator()(const at::Tensor& rows);
  /// Goes on with these sentences.
  void pick(const at::Tensor& sentences);

 private:
  void of_shared(const at::Tensor& rows, const at::Tensor& logits) const;
  [[nodiscard]] at::Tensor bias_of(const Candidates& candidates) const;
  void of_own(const at::Tensor& rows, const at::Tensor& logits) const;

  Matrix output_;
  std::vector<Candidates> candidates_;  // of each sentence; none: all tokens
  at::Tensor bias_;
  struct Own {
    Matrix rows;      // of its own tokens
    at::Tensor bias;  // of all its tokens, fp32; undefined: none
  };
  std::vector<Own> own_;  // of each sentence
  int64_t columns_ = 0;
  // [rows, columns] of the last step; kept, since memory costs more when it is touched for the first time.
  at::Tensor logits_;
};

}  // namespace chorus::inline model
