// Several models as one StepDecoder.
#pragma once

#include <memory>
#include <vector>

#include "model/step_decoder.h"

namespace chorus::inline model {

class EnsembleDecoder final : public StepDecoder {
 public:
  /// Makes a decoder of at least two models of one vocabulary on one device. UserError when they cannot decode
  /// together: not as many rows of the embedding, or another first token.
  explicit EnsembleDecoder(std::span<Transformer* const> models);

  [[nodiscard]] int64_t max_positions() const override;
  /// The outputs of all, side by side: [B, S, sum of d].
  [[nodiscard]] at::Tensor encode(const Side& source) const override;
  [[nodiscard]] std::unique_ptr<Decoding> start(const at::Tensor& memory, const at::Tensor& memory_mask,
                                                int64_t max_tokens, int64_t hypotheses,
                                                std::vector<Candidates> candidates) const override;
  [[nodiscard]] std::shared_ptr<const SharedTokens> take_tokens(std::vector<int32_t> tokens) const override;

 private:
  std::vector<std::unique_ptr<const StepDecoder>> members_;
};

}  // namespace chorus::inline model
