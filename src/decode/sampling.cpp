#include "decode/sampling.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>

#include "base/error.h"

#include "decode/internal/batch.h"
#include "decode/internal/draw.h"
#include "decode/internal/search.h"

namespace chorus::inline decode {

namespace {

constexpr int64_t kMostSamples = 1024;

double sum_of(std::span<const Weighted> tokens) {
  double sum = 0;
  for (const Weighted& token : tokens) sum += token.weight;
  return sum;
}

void keep_most_probable(std::vector<Weighted>& tokens, int64_t k) {
  if (std::cmp_less_equal(tokens.size(), k)) return;
  std::vector<double> weights(tokens.size());
  std::ranges::transform(tokens, weights.begin(), &Weighted::weight);
  std::ranges::nth_element(weights, weights.begin() + k - 1, std::greater());
  std::erase_if(tokens, [&](const Weighted& token) { return token.weight < weights[k - 1]; });
}

void keep_nucleus(std::vector<Weighted>& tokens, double p) {
  const double total = sum_of(tokens);
  // The tokens below this have less than 1 - p together: none is needed, and the sort is short without them.
  const double least = (1 - p) * total / static_cast<double>(tokens.size());
  std::erase_if(tokens, [&](const Weighted& token) { return token.weight < least; });
  std::ranges::stable_sort(tokens, std::greater(), &Weighted::weight);
  double before = 0;
  size_t kept = 0;
  while (kept < tokens.size() && (kept == 0 || before < p * total)) before += tokens[kept++].weight;
  tokens.resize(kept);
}

void keep_above(std::vector<Weighted>& tokens, double epsilon) {
  const double best = std::ranges::max_element(tokens, {}, &Weighted::weight)->weight,
               least = std::min(epsilon * sum_of(tokens), best);
  std::erase_if(tokens, [&](const Weighted& token) { return token.weight < least; });
}

/// A lane is a sample.
class SampleSearch final : public Search {
 public:
  SampleSearch(size_t number, const DecodeInput& input, const DecodeOptions& options,
               const Sampling& sampling, int64_t max_positions)
      : Search(number, input, options, max_positions), sampling_(sampling), samples_(options.nbest) {}

  void choose(const NextTokens& next) override {
    std::vector<Live> going;
    for (size_t i = 0; i < live().size(); ++i) {
      const std::span logits(next.logits + static_cast<int64_t>(i) * next.columns,
                             static_cast<size_t>(next.columns));
      const std::vector<Weighted> tokens = possible_tokens(logits, sampling_);
      const auto one = [&](size_t sample) {
        if (tokens.empty()) {
          samples_[sample] = finished(live()[i]);
          return;
        }
        const double share =
            static_cast<double>(input().random.derive(sample).bits(next_length()) >> 11) * 0x1p-53;
        const int32_t token = next.candidates->token(token_at(tokens, share));
        Live extended_one = extended({i, token, next.log_probability(i, token)});
        extended_one.lane = sample;
        if (is_last() || token == kEos) {
          samples_[sample] = finished(std::move(extended_one));
        } else {
          going.push_back(std::move(extended_one));
        }
      };
      for (size_t sample = 0; sample < samples_.size(); ++sample)
        if (is_of(sample, i)) one(sample);
    }
    go_on_with(std::move(going));
  }

  [[nodiscard]] std::vector<Hypothesis> take() override { return std::move(samples_); }

 private:
  const Sampling& sampling_;
  std::vector<Hypothesis> samples_;
};

void check(const DecodeOptions& options, const Sampling& s) {
  if (options.nbest < 1 || options.nbest > kMostSamples)
    throw UserError("{} samples are outside 1 to {}", options.nbest, kMostSamples);
  if (const auto used = static_cast<float>(s.temperature); !(used > 0) || !std::isfinite(used))
    throw UserError("a temperature of {}: it must be a number above 0 (1: none)", s.temperature);
  if (s.top_k < 0) throw UserError("a top-k of {}: it must be 0 (all) or more", s.top_k);
  if (!(s.top_p > 0 && s.top_p <= 1))
    throw UserError("a top-p of {}: it must be above 0 and at most 1 (all)", s.top_p);
  if (!(s.epsilon >= 0 && s.epsilon < 1))
    throw UserError("an epsilon of {}: it must be a probability from 0 (none) to below 1", s.epsilon);
}

}  // namespace

std::vector<Weighted> possible_tokens(std::span<const float> logits, const Sampling& sampling) {
  // NaN is below no number; the others' distance from infinity is NaN.
  if (!std::ranges::all_of(logits, [](float logit) { return logit < HUGE_VALF; })) fail_not_a_number();
  const float best = *std::ranges::max_element(logits);
  if (best == -HUGE_VALF) return {};
  const at::Tensor weights = at::from_blob(const_cast<float*>(logits.data()), {std::ssize(logits)})
                                 .sub(best)
                                 .div_(sampling.temperature)
                                 .exp_();
  const auto* const values = weights.const_data_ptr<float>();
  std::vector<Weighted> tokens;
  tokens.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    if (values[i] > 0) tokens.push_back({static_cast<int32_t>(i), values[i]});
  }
  if (sampling.top_k > 0) keep_most_probable(tokens, sampling.top_k);
  if (sampling.top_p < 1) keep_nucleus(tokens, sampling.top_p);
  if (sampling.epsilon > 0) keep_above(tokens, sampling.epsilon);
  return tokens;
}

int32_t token_at(std::span<const Weighted> tokens, double share) {
  double left = share * sum_of(tokens);
  for (const Weighted& token : tokens.first(tokens.size() - 1)) {
    left -= token.weight;
    if (left < 0) return token.token;
  }
  return tokens.back().token;
}

std::vector<std::vector<Hypothesis>> sample(const StepDecoder& model, std::span<const DecodeInput> inputs,
                                            const DecodeOptions& options, const Sampling& sampling,
                                            const std::function<void(int64_t done)>& progress) {
  check(options, sampling);
  const SearchKind kind = {.width = options.nbest,
                           .logits = true,
                           .greedy = true,
                           .make = [&](size_t number, const DecodeInput& input) {
                             return std::make_unique<SampleSearch>(number, input, options, sampling,
                                                                   model.max_positions());
                           }};
  return search_all(model, inputs, options, kind, progress);
}

}  // namespace chorus::inline decode
