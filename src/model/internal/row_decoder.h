// A StepDecoder on the host, by the kernels of kernels/decoding.h: activations are fp32 rows, one per token,
// whatever the weights' type.
#pragma once

#include "model/step_decoder.h"

namespace chorus::inline model {

class RowDecoder final : public StepDecoder {
 public:
  using StepDecoder::StepDecoder;
  /// Whether it computes what this model is: any but experts of Switch's kind, and the model is on the host in fp32 or
  /// bf16.
  static bool suits(const Transformer& model);

  [[nodiscard]] bool independent() const override { return true; }
  /// fp32, for a bf16 model too.
  [[nodiscard]] at::Tensor encode(const Side& source) const override;
  [[nodiscard]] std::unique_ptr<Decoding> start(const at::Tensor& memory, const at::Tensor& memory_mask,
                                                int64_t max_tokens, int64_t hypotheses,
                                                std::vector<Candidates> candidates) const override;
};

}  // namespace chorus::inline model
