#include "model/internal/ensemble_decoder.h"

#include <algorithm>
#include <cmath>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logaddexp.h>

#include "base/error.h"

namespace chorus::inline model {

namespace {

class EnsembleDecoding final : public Decoding {
 public:
  explicit EnsembleDecoding(std::vector<std::unique_ptr<Decoding>> members) : members_(std::move(members)) {}

  at::Tensor step(const at::Tensor& ids) override {
    const at::NoGradGuard plain;
    at::Tensor sum;  // log of the sum of probabilities
    for (const auto& member : members_) {
      const at::Tensor log_probability = at::log_softmax(member->step(ids), 1);
      sum = sum.defined() ? at::logaddexp(sum, log_probability) : log_probability;
    }
    return sum.sub_(std::log(static_cast<double>(members_.size())));
  }

  void reorder(const at::Tensor& rows, const at::Tensor& sentences) override {
    for (const auto& member : members_) member->reorder(rows, sentences);
  }

 private:
  std::vector<std::unique_ptr<Decoding>> members_;
};

}  // namespace

EnsembleDecoder::EnsembleDecoder(std::span<Transformer* const> models) : StepDecoder(*models.front()) {
  for (Transformer* const model : models) {
    if (model->config().vocabulary != config().vocabulary ||
        model->config().decoder_start != config().decoder_start) {
      throw UserError(
          "models of an ensemble have one vocabulary: {} and {} rows of embedding, first tokens {} and {}",
          config().vocabulary, model->config().vocabulary, config().decoder_start,
          model->config().decoder_start);
    }
    members_.push_back(make_step_decoder(*model));
  }
}

int64_t EnsembleDecoder::max_positions() const {
  int64_t most = config().max_positions;
  for (const auto& member : members_) most = std::min(most, member->max_positions());
  return most;
}

at::Tensor EnsembleDecoder::encode(const Side& source) const {
  const at::NoGradGuard plain;
  std::vector<at::Tensor> memories;
  for (const auto& member : members_) {
    memories.push_back(member->encode(source));
    if (memories.back().scalar_type() != memories.front().scalar_type())
      throw UserError("the models of this ensemble cannot compute together in bf16: take fp32");
  }
  return at::cat(memories, 2);
}

std::unique_ptr<Decoding> EnsembleDecoder::start(const at::Tensor& memory, const at::Tensor& memory_mask,
                                                 int64_t max_tokens, int64_t hypotheses,
                                                 std::vector<Candidates> candidates) const {
  std::vector<std::unique_ptr<Decoding>> decodings;
  int64_t begin = 0;
  for (size_t i = 0; i < members_.size(); ++i) {
    const int64_t width = members_[i]->config().d_model;
    std::vector<Candidates> of_member = candidates;
    for (Candidates& one : of_member) one.shared = one.shared->members[i];
    decodings.push_back(members_[i]->start(memory.narrow(2, begin, width).contiguous(), memory_mask,
                                           max_tokens, hypotheses, std::move(of_member)));
    begin += width;
  }
  return std::make_unique<EnsembleDecoding>(std::move(decodings));
}

std::shared_ptr<const SharedTokens> EnsembleDecoder::take_tokens(std::vector<int32_t> tokens) const {
  SharedTokens shared;
  for (const auto& member : members_) shared.members.push_back(member->take_tokens(tokens));
  shared.tokens = std::move(tokens);
  return std::make_shared<const SharedTokens>(std::move(shared));
}

}  // namespace chorus::inline model
