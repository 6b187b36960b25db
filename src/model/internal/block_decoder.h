// A StepDecoder of the blocks of model/layers.h: any architecture, any device, any type.
#pragma once

#include "model/step_decoder.h"

namespace chorus::inline model {

class BlockDecoder final : public StepDecoder {
 public:
  using StepDecoder::StepDecoder;
  [[nodiscard]] at::Tensor encode(const Side& source) const override;
  [[nodiscard]] std::unique_ptr<Decoding> start(const at::Tensor& memory, const at::Tensor& memory_mask,
                                                int64_t max_tokens, int64_t hypotheses,
                                                std::vector<Candidates> candidates) const override;
};

}  // namespace chorus::inline model
