#include <cmath>
#include <set>

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <gtest/gtest.h>

#include "decode/fixtures.h"
#include "decode/scorer.h"
#include "suite_device.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

/// What comes next depends on the last token alone.
class MarkovDecoder final : public StepDecoder {
 public:
  explicit MarkovDecoder(Transformer& model) : StepDecoder(model), logits_(at::empty({kTokens, kTokens})) {
    for (int64_t a = 0; a < kTokens; ++a) {
      for (int64_t b = 0; b < kTokens; ++b) {
        float& logit = logits_.mutable_data_ptr<float>()[a * kTokens + b];
        logit = static_cast<float>((37 * a + 11 * b * b + 5 * a * b) % 107) / 32;
        if (b == kEos) logit += a == 5 || a == 9 || a == 11 ? 4 : -1;
        if (b < kEos) logit = -HUGE_VALF;
      }
    }
  }
  [[nodiscard]] at::Tensor encode(const Side&) const override { return at::empty({1, 1, 1}); }
  [[nodiscard]] std::unique_ptr<Decoding> start(const at::Tensor&, const at::Tensor&, int64_t, int64_t,
                                                std::vector<Candidates>) const override {
    return std::make_unique<MarkovDecoding>(logits_);
  }

 private:
  class MarkovDecoding final : public Decoding {
   public:
    explicit MarkovDecoding(const at::Tensor& logits) : logits_(logits) {}
    at::Tensor step(const at::Tensor& ids) override { return logits_.index_select(0, ids); }
    void reorder(const at::Tensor&, const at::Tensor&) override {}

   private:
    at::Tensor logits_;
  };
  static constexpr int64_t kTokens = 12;
  at::Tensor logits_;
};

struct DiverseCase {
  int64_t beam, groups;
  double diversity, length_penalty;
  std::vector<std::vector<int32_t>> found;
};

// What group beam search finds with BeamSearchScorer and HammingDiversityLogitsProcessor of transformers 4.57.1, ranked
// by log-probabilities without the penalties, each translation once.
TEST(Diversity, FindsWhatTransformersFinds) {
  const std::vector<DiverseCase> cases = {
      {4, 2, 0.5, 1, {{9}, {6, 9}, {6, 8, 4, 5}, {3, 10, 9}}},
      {4, 4, 1, 1, {{9}, {6, 9}, {3, 8, 4, 11}, {10, 4, 11}}},
      {6, 3, 2, 0, {{9}, {5}, {6, 9}, {4, 5}, {3, 10, 9}, {6, 8, 4, 5}}},
      {6, 2, 0.3, -0.5, {{9}, {6, 9}, {6, 4, 5}, {6, 8, 4, 5}, {6, 8, 4, 11}}},
      {3, 0, 5, 1, {{6, 9}, {3, 8, 4, 11}, {10, 4, 11}}},
      {6, 3, 0.2, 0.5, {{9}, {6, 9}, {3, 10, 9}, {10, 4, 5}, {6, 8, 4, 5}}}};
  const auto model = opinionated_model(tiny_config(), 1);
  const MarkovDecoder steps(*model);
  const DecodeInput input = {.source = {7, kEos}, .forced = {}, .tagged = false};
  for (const DiverseCase& expected : cases) {
    const std::vector<Hypothesis> found = beam_search(steps, {&input, 1},
                                                      {.beam = expected.beam,
                                                       .nbest = expected.beam,
                                                       .length_penalty = expected.length_penalty,
                                                       .diversity = expected.diversity,
                                                       .groups = expected.groups})[0];
    std::vector<std::vector<int32_t>> tokens;
    for (const Hypothesis& one : found) tokens.push_back(one.tokens);
    EXPECT_EQ(tokens, expected.found) << expected.beam << " in " << expected.groups;
  }
}

TEST(Diversity, MakesListsDiffer) {
  const auto model = opinionated_model(tiny_config(), 4, suite_device());
  const std::vector<DecodeInput> inputs = random_inputs(12, 9, 23);
  const auto steps = make_step_decoder(*model);
  const DecodeOptions plain = {.beam = 4, .nbest = 4, .never = {kBos, kPad}};
  DecodeOptions diverse = plain;
  diverse.diversity = 3;
  const auto usual = beam_search(*steps, inputs, plain), different = beam_search(*steps, inputs, diverse);
  const auto beginnings = [](const std::vector<std::vector<Hypothesis>>& results) {
    size_t count = 0;
    for (const auto& list : results) {
      std::set<int32_t> first;
      for (const Hypothesis& one : list) first.insert(one.tokens.empty() ? kEos : one.tokens[0]);
      count += first.size();
    }
    return count;
  };
  EXPECT_GT(beginnings(different), beginnings(usual) + 10);
  for (size_t i = 0; i < inputs.size(); ++i) {
    // The first group is a search of its own.
    const std::vector<Hypothesis> first =
        beam_search(*steps, {&inputs[i], 1}, {.beam = 1, .never = {kBos, kPad}})[0];
    EXPECT_TRUE(
        std::ranges::any_of(different[i], [&](const auto& one) { return one.tokens == first[0].tokens; }));
    std::set<std::vector<int32_t>> once;
    for (const Hypothesis& one : different[i]) {
      EXPECT_TRUE(once.insert(one.tokens).second);
      EXPECT_LE(one.score, different[i][0].score);
      if (!one.ended) continue;
      const SentencePair pair = {.source = {inputs[i].source.begin() + 1, inputs[i].source.end() - 1},
                                 .target = one.tokens,
                                 .source_tag = kSourceTag,
                                 .target_tag = kTargetTag};
      EXPECT_NEAR(score_pairs(*model, {&pair, 1}, 60)[0].log_probability, one.log_probability, 1e-3);
    }
  }
}

TEST(Diversity, RefusesWhatCannotBe) {
  const auto model = opinionated_model(tiny_config(), 1, suite_device());
  const std::vector<DecodeInput> inputs = random_inputs(1, 4, 23);
  const auto refused = [&](const DecodeOptions& options) {
    return message_of<UserError>([&] { beam_search(*make_step_decoder(*model), inputs, options); });
  };
  EXPECT_EQ(refused({.diversity = -1}), "a diversity of -1: it must be a number from 0 (none)");
  EXPECT_EQ(refused({.diversity = 1, .groups = 3}), "a beam of 5 cannot be cut into 3 groups");
  EXPECT_EQ(refused({.diversity = 1, .groups = 10}), "a beam of 5 cannot be cut into 10 groups");
  EXPECT_EQ(refused({.groups = 5}), "5 groups: without a diversity all find the same");
}

}  // namespace
}  // namespace chorus
