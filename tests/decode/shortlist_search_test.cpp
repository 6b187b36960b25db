// Searches among candidates: the plain search, with all other logits at -inf, is the reference.
#include <algorithm>

#include <gtest/gtest.h>

#include "decode/plain_search.h"
#include "decode/sampling.h"
#include "suite_device.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

using Tokens = std::vector<int32_t>;

/// Inputs whose sentences have one list or another, and some tokens of their own.
std::vector<DecodeInput> restricted_inputs(const StepDecoder& decoder) {
  std::vector<DecodeInput> inputs = random_inputs(9, 8, decoder.config().vocabulary);
  const auto german = decoder.take_tokens({kEos, 7, 9, 11, 13, 15, 17, 19, 21}),
             french = decoder.take_tokens({kEos, 6, 7, 8, 9, 10, 11});
  for (size_t i = 0; i < inputs.size(); ++i) {
    Candidates& candidates = inputs[i].candidates = {i % 2 == 0 ? german : french, {}};
    if (i % 3 == 0)
      for (const int32_t token : {6, 12, 22})
        if (!candidates.column(token)) candidates.own.push_back(token);
  }
  return inputs;
}

DecodeOptions options_of(int64_t beam) {
  return {.beam = beam, .nbest = beam, .max_length_factor = 1, .max_length_offset = 3};
}

TEST(SearchAmongCandidates, FindsWhatAPlainOneFinds) {
  for (const int64_t beam : {1, 4}) {
    for (const double repetition_penalty : {1.0, 1.3}) {
      const auto model = opinionated_model(tiny_config(), 2, suite_device()),
                 plain = opinionated_model(tiny_config(), 2);
      const auto decoder = make_step_decoder(*model);
      const std::vector<DecodeInput> inputs = restricted_inputs(*decoder);
      DecodeOptions options = options_of(beam);
      options.no_repeat_ngram = 2;
      options.repetition_penalty = repetition_penalty;
      const auto results = beam_search(*decoder, inputs, options);
      ASSERT_EQ(results.size(), inputs.size());
      for (size_t i = 0; i < inputs.size(); ++i) {
        const auto limit = static_cast<int64_t>(inputs[i].source.size()) + 3;
        const std::vector<PlainResult> expected = plain_search(*plain, inputs[i], options, limit);
        ASSERT_EQ(results[i].size(), expected.size());
        for (size_t rank = 0; rank < results[i].size(); ++rank) {
          EXPECT_EQ(whole(inputs[i], results[i][rank]), expected[rank].tokens) << i << " rank " << rank;
          EXPECT_NEAR(results[i][rank].score, expected[rank].score, 1e-4);
        }
      }
    }
  }
}

void expect_same(const std::vector<std::vector<Hypothesis>>& a, const std::vector<std::vector<Hypothesis>>& b,
                 double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].size(), b[i].size());
    ASSERT_FALSE(a[i].empty());
    for (size_t rank = 0; rank < a[i].size(); ++rank) {
      EXPECT_EQ(a[i][rank].tokens, b[i][rank].tokens) << i << " rank " << rank;
      EXPECT_NEAR(a[i][rank].score, b[i][rank].score, tolerance);
    }
  }
}

TEST(SearchAmongCandidates, DoesNotDependOnTheBatch) {
  const auto model = opinionated_model(tiny_config(), 2, suite_device());
  const auto decoder = make_step_decoder(*model);
  const std::vector<DecodeInput> inputs = restricted_inputs(*decoder);
  DecodeOptions alone = options_of(4);
  alone.batch_tokens = 1;
  expect_same(beam_search(*decoder, inputs, options_of(4)), beam_search(*decoder, inputs, alone), 1e-5);
  expect_same(sample(*decoder, inputs, options_of(4), {}), sample(*decoder, inputs, alone, {}), 1e-5);
}

TEST(SearchAmongCandidates, OfAllTokensIsTheSearch) {
  const auto model = opinionated_model(tiny_config(), 2, suite_device());
  const auto decoder = make_step_decoder(*model);
  std::vector<DecodeInput> inputs = random_inputs(9, 8, tiny_config().vocabulary);
  const auto free = beam_search(*decoder, inputs, options_of(4));
  const auto samples = sample(*decoder, inputs, options_of(4), {.top_p = 0.9});
  Tokens all(tiny_config().vocabulary);
  for (size_t token = 0; token < all.size(); ++token) all[token] = static_cast<int32_t>(token);
  const auto shared = decoder->take_tokens(all);
  for (DecodeInput& input : inputs) input.candidates.shared = shared;
  const double tolerance = suite_device().is_cpu() ? 0 : 1e-5;
  expect_same(beam_search(*decoder, inputs, options_of(4)), free, tolerance);
  expect_same(sample(*decoder, inputs, options_of(4), {.top_p = 0.9}), samples, tolerance);
}

TEST(SearchAmongCandidates, DrawsWhatIsDrawnWhereAllOthersAreForbidden) {
  const auto model = opinionated_model(tiny_config(), 2, suite_device());
  const auto decoder = make_step_decoder(*model);
  const auto shared = decoder->take_tokens({kEos, 7, 8, 9, 11, 14, 17, 20});
  std::vector<DecodeInput> inputs = random_inputs(9, 8, tiny_config().vocabulary);
  DecodeOptions forbidding = options_of(6);
  for (int32_t token = 0; std::cmp_less(token, tiny_config().vocabulary); ++token)
    if (!Candidates{shared, {}}.column(token)) forbidding.never.push_back(token);
  const auto expected = sample(*decoder, inputs, forbidding, {});
  for (DecodeInput& input : inputs) input.candidates.shared = shared;
  const auto actual = sample(*decoder, inputs, options_of(6), {});
  ASSERT_EQ(actual.size(), inputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_EQ(actual[i].size(), 6U);
    ASSERT_EQ(expected[i].size(), 6U);
    for (size_t k = 0; k < actual[i].size(); ++k) EXPECT_EQ(actual[i][k].tokens, expected[i][k].tokens) << i;
  }
}

TEST(SearchAmongCandidates, HasThePhrases) {
  const auto model = opinionated_model(tiny_config(), 2, suite_device());
  const auto decoder = make_step_decoder(*model);
  std::vector<DecodeInput> inputs = restricted_inputs(*decoder);
  for (DecodeInput& input : inputs) {
    input.phrases = {{7, 18}, {9}};
    if (!input.candidates.column(18)) input.candidates.own = {18};
  }
  for (const int64_t beam : {1, 4}) {
    const auto results = beam_search(*decoder, inputs, options_of(beam));
    ASSERT_EQ(results.size(), inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i) {
      ASSERT_FALSE(results[i].empty());
      for (const Hypothesis& one : results[i]) {
        for (const Tokens& phrase : inputs[i].phrases)
          EXPECT_FALSE(std::ranges::search(one.tokens, phrase).empty()) << i;
        for (const int32_t token : one.tokens) EXPECT_TRUE(inputs[i].candidates.column(token)) << token;
      }
    }
  }
}

TEST(SearchAmongCandidates, OfFewerTokensThanTheBeam) {
  const auto model = opinionated_model(tiny_config(), 2, suite_device());
  const auto decoder = make_step_decoder(*model);
  std::vector<DecodeInput> inputs = random_inputs(3, 4, tiny_config().vocabulary);
  const auto one = decoder->take_tokens({9}), two = decoder->take_tokens({kEos, 9});
  inputs[0].candidates.shared = one;
  inputs[1].candidates = {one, {7}};
  inputs[2].candidates.shared = two;
  const auto results = beam_search(*decoder, inputs, options_of(4));
  const size_t longest = inputs[0].source.size() + 3 - 1;
  EXPECT_EQ(results[0][0].tokens, Tokens(longest, 9));
  EXPECT_FALSE(results[0][0].ended);
  for (const auto& hypotheses : results)
    for (const Hypothesis& hypothesis : hypotheses) EXPECT_TRUE(std::isfinite(hypothesis.score));
}

TEST(SearchAmongCandidates, AllInputsHaveSomeOrNone) {
  const auto model = opinionated_model(tiny_config(), 2, suite_device());
  const auto decoder = make_step_decoder(*model);
  std::vector<DecodeInput> inputs = restricted_inputs(*decoder);
  inputs[3].candidates = {};
  EXPECT_THROW(beam_search(*decoder, inputs, options_of(2)), Error);
}

}  // namespace
}  // namespace chorus
