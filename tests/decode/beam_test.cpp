#include "decode/beam.h"

#include <cmath>

#include <gtest/gtest.h>

#include "decode/plain_search.h"
#include "decode/scorer.h"
#include "suite_device.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

struct SearchCase {
  int64_t beam = 1;
  double length_penalty = 1;
  bool mask = true;
  int64_t no_repeat_ngram = 0;
  double repetition_penalty = 1;
  int64_t min_length = 0;
};

class BeamSearch : public testing::TestWithParam<SearchCase> {};

TEST_P(BeamSearch, FindsWhatAPlainOneFinds) {
  const ModelConfig config = tiny_config();
  int64_t ended = 0, cut = 0, longest = 0, changed = 0;
  for (const uint64_t seed : {1, 2}) {
    const auto model = opinionated_model(config, seed, suite_device()),
               plain = opinionated_model(config, seed);
    const std::vector<DecodeInput> inputs = random_inputs(5, 8, config.vocabulary);
    DecodeOptions options = {.beam = GetParam().beam,
                             .nbest = GetParam().beam,
                             .length_penalty = GetParam().length_penalty,
                             .max_length_factor = 1,
                             .max_length_offset = 3,
                             .min_length = GetParam().min_length,
                             .no_repeat_ngram = GetParam().no_repeat_ngram,
                             .repetition_penalty = GetParam().repetition_penalty};
    if (GetParam().mask) options.never = {kBos, kPad, kUnk, kSourceTag, kTargetTag};
    const auto results = beam_search(*make_step_decoder(*model), inputs, options);
    DecodeOptions free = options;
    free.no_repeat_ngram = 0;
    free.repetition_penalty = 1;
    free.min_length = 0;
    const auto repeating = beam_search(*make_step_decoder(*model), inputs, free);
    for (size_t i = 0; i < inputs.size(); ++i) {
      changed += results[i][0].tokens != repeating[i][0].tokens;
      const auto limit = static_cast<int64_t>(inputs[i].source.size()) + 3;
      const std::vector<PlainResult> expected = plain_search(*plain, inputs[i], options, limit);
      ASSERT_EQ(std::ssize(results[i]), options.beam);
      for (size_t rank = 0; rank < expected.size(); ++rank) {
        EXPECT_EQ(whole(inputs[i], results[i][rank]), expected[rank].tokens) << i << " rank " << rank;
        EXPECT_NEAR(results[i][rank].score, expected[rank].score, 1e-4);
        (results[i][rank].ended ? ended : cut) += 1;
        longest = std::max<int64_t>(longest, std::ssize(expected[rank].tokens));
      }
    }
  }
  if (GetParam().no_repeat_ngram > 0 || GetParam().repetition_penalty != 1 || GetParam().min_length > 0) {
    EXPECT_GT(changed, 0) << "the test must see what is forbidden";
  } else {
    EXPECT_GT(ended, 0) << "the test must see both";
    EXPECT_GT(cut, 0);
    EXPECT_GT(longest, 5);
  }
}

INSTANTIATE_TEST_SUITE_P(Options, BeamSearch,
                         testing::Values(SearchCase{1, 1}, SearchCase{2, 1}, SearchCase{4, 1},
                                         SearchCase{4, 0}, SearchCase{4, 2.5}, SearchCase{5, -0.5},
                                         SearchCase{3, 1, false}, SearchCase{1, 1, true, 2},
                                         SearchCase{4, 1, true, 1}, SearchCase{4, 1, true, 2},
                                         SearchCase{3, 0.5, false, 3}, SearchCase{1, 1, true, 0, 1.5},
                                         SearchCase{1, 1, false, 0, 0.6}, SearchCase{4, 1, true, 0, 1.5},
                                         SearchCase{3, 0, false, 0, 0.8}, SearchCase{4, 1, true, 2, 1.2},
                                         SearchCase{1, 1, true, 0, 1, 6}, SearchCase{4, 1, false, 0, 1, 5},
                                         SearchCase{3, 0, true, 0, 1, 32}));

void extend_all(PlainModel& plain, const PlainResult& from, size_t limit, double penalty,
                std::vector<PlainResult>& all) {
  const std::vector<double> log_p = plain(from.tokens);
  for (size_t token = 0; token < log_p.size(); ++token) {
    if (token < kUnk && token != kEos) continue;
    PlainResult next = {from.tokens, from.score + log_p[token]};
    next.tokens.push_back(static_cast<int32_t>(token));
    if (token == kEos || next.tokens.size() == limit) {
      next.score /= std::pow(next.tokens.size(), penalty);
      all.push_back(std::move(next));
    } else {
      extend_all(plain, next, limit, penalty, all);
    }
  }
}

TEST(Decode, ABeamWideEnoughIsExhaustive) {
  ModelConfig config = tiny_config();
  config.vocabulary = 9;
  const auto model = opinionated_model(config, 4, suite_device());
  const std::vector<DecodeInput> inputs = random_inputs(3, 4, config.vocabulary);
  // Three tokens after the tag: at most 7^2 hypotheses go on.
  const DecodeOptions options = {
      .beam = 60, .nbest = 10, .max_length_factor = 0, .max_length_offset = 4, .never = {kBos, kPad}};
  const auto results = beam_search(*make_step_decoder(*model), inputs, options);
  for (size_t i = 0; i < inputs.size(); ++i) {
    PlainModel plain(*model, inputs[i]);
    std::vector<PlainResult> all;
    extend_all(plain, {{kTargetTag}, 0}, 4, 1, all);
    std::ranges::sort(all, std::greater(), &PlainResult::score);
    for (size_t rank = 0; rank < 10; ++rank) {
      EXPECT_EQ(whole(inputs[i], results[i][rank]), all[rank].tokens);
      EXPECT_NEAR(results[i][rank].score, all[rank].score, 1e-5);
    }
  }
}

void expect_equal(const std::vector<Hypothesis>& a, const std::vector<Hypothesis>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t rank = 0; rank < a.size(); ++rank) {
    EXPECT_EQ(a[rank].tokens, b[rank].tokens);
    EXPECT_NEAR(a[rank].score, b[rank].score, 1e-4);
  }
}

TEST(Decode, WhatElseIsInTheBatchDoesNotMatter) {
  ModelConfig config = tiny_config();
  config.moe.evaluation_capacity_factor = 0.5;  // would drop tokens, and which depends on the batch
  const auto model = opinionated_model(config, 5, suite_device());
  std::vector<DecodeInput> inputs = random_inputs(40, 20, config.vocabulary);
  for (size_t i = 0; i < inputs.size(); ++i)  // of 0 to 4 tokens
    for (size_t k = 0; k < i % 5; ++k) inputs[i].forced.push_back(static_cast<int32_t>(6 + (i + k) % 10));
  const DecodeOptions options = {.beam = 3, .nbest = 3, .max_length_offset = 5};
  std::vector<int64_t> progress;
  const auto together = beam_search(*make_step_decoder(*model), inputs, options,
                                    [&](int64_t done) { progress.push_back(done); });
  EXPECT_EQ(progress, std::vector<int64_t>{40});
  DecodeOptions few = options;
  few.batch_tokens = 500;
  progress.clear();
  const auto in_batches =
      beam_search(*make_step_decoder(*model), inputs, few, [&](int64_t done) { progress.push_back(done); });
  EXPECT_GT(progress.size(), 4U);
  EXPECT_EQ(progress.back(), 40);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto alone = beam_search(*make_step_decoder(*model), {&inputs[i], 1}, options);
    expect_equal(together[i], alone[0]);
    expect_equal(in_batches[i], alone[0]);
  }
}

TEST(Decode, IsDeterministic) {
  const auto model = opinionated_model(tiny_config(), 6, suite_device());
  const std::vector<DecodeInput> inputs = random_inputs(10, 12, 23);
  const auto first = beam_search(*make_step_decoder(*model), inputs, {.nbest = 5}),
             second = beam_search(*make_step_decoder(*model), inputs, {.nbest = 5});
  for (size_t i = 0; i < inputs.size(); ++i)
    for (size_t rank = 0; rank < first[i].size(); ++rank) {
      EXPECT_EQ(first[i][rank].tokens, second[i][rank].tokens);
      EXPECT_EQ(first[i][rank].score, second[i][rank].score);
    }
}

TEST(Decode, BeginsWithThePrefix) {
  const auto model = opinionated_model(tiny_config(), 7, suite_device());
  std::vector<DecodeInput> inputs = random_inputs(3, 6, 23);
  inputs[1].forced = {kTargetTag, 9, 9, 10};
  inputs[2].forced.resize(31, 8);  // all but one of the model's positions
  const auto results =
      beam_search(*make_step_decoder(*model), inputs, {.beam = 4, .nbest = 4, .max_length_factor = 1});
  for (const Hypothesis& hypothesis : results[1]) {
    ASSERT_GE(hypothesis.tokens.size(), 3U);
    EXPECT_EQ(std::vector<int32_t>(hypothesis.tokens.begin(), hypothesis.tokens.begin() + 3),
              (std::vector<int32_t>{9, 9, 10}));
  }
  for (const Hypothesis& hypothesis : results[2]) {
    EXPECT_TRUE(hypothesis.tokens.size() == 31 || hypothesis.ended);
    EXPECT_GE(hypothesis.tokens.size(), 30U);
  }
}

TEST(Decode, ScoresAreThoseOfScoring) {
  const auto model = opinionated_model(tiny_config(), 8, suite_device());
  const size_t bias = model->catalogue().decoder_norm.bias;  // which draws to </s>
  model->set(bias, model->parameters()[bias].value * 1.5);
  const std::vector<DecodeInput> inputs = random_inputs(8, 9, 23);
  int64_t ended = 0, cut = 0;
  std::vector<double> penalties = {-0.5, 0.0, 1.0, 2.5};
  if (!suite_device().is_cpu()) penalties = {1.0};  // each hypothesis takes a device some 20 ms
  for (const double penalty : penalties) {
    for (const int64_t beam : {1, 3, 5}) {
      const auto results = beam_search(*make_step_decoder(*model), inputs,
                                       {.beam = beam,
                                        .nbest = beam,
                                        .length_penalty = penalty,
                                        .max_length_factor = 1,
                                        .max_length_offset = 2,
                                        .never = {kBos, kPad}});
      for (size_t i = 0; i < inputs.size(); ++i) {
        for (const Hypothesis& hypothesis : results[i]) {
          const SentencePair pair = {.source = {inputs[i].source.begin() + 1, inputs[i].source.end() - 1},
                                     .target = hypothesis.tokens,
                                     .source_tag = kSourceTag,
                                     .target_tag = kTargetTag};
          const PairScore score = score_pairs(*model, {&pair, 1}, 60)[0];
          // A hypothesis that was cut lacks the </s> that scoring adds.
          const std::vector<int32_t> tokens = whole(inputs[i], hypothesis);
          const double end = hypothesis.ended ? 0 : PlainModel(*model, inputs[i])(tokens)[kEos];
          EXPECT_NEAR(hypothesis.log_probability + end, score.log_probability, 1e-4);
          EXPECT_EQ(std::ssize(tokens), score.tokens - (hypothesis.ended ? 0 : 1));
          EXPECT_NEAR(hypothesis.score, (score.log_probability - end) / std::pow(tokens.size(), penalty),
                      1e-4);
          (hypothesis.ended ? ended : cut) += 1;
        }
      }
    }
  }
  EXPECT_GT(ended, 5 * std::ssize(penalties));
  EXPECT_GT(cut, 5 * std::ssize(penalties));
}

TEST(Decode, EndsWhereNothingIsLeftToChoose) {
  const auto model = opinionated_model(tiny_config(), 8, suite_device());
  std::vector<int32_t> never;
  for (int32_t id = 0; id < 23; ++id)
    if (id != 7 && id != 9) never.push_back(id);
  const std::vector<DecodeInput> inputs = random_inputs(3, 9, 23);
  for (const auto& result : beam_search(*make_step_decoder(*model), inputs,
                                        {.beam = 3, .nbest = 3, .no_repeat_ngram = 1, .never = never})) {
    ASSERT_EQ(result.size(), 2U);
    for (const Hypothesis& hypothesis : result) {
      EXPECT_EQ(hypothesis.tokens.size(), 2U);
      EXPECT_NE(hypothesis.tokens[0], hypothesis.tokens[1]);
      EXPECT_FALSE(hypothesis.ended);
    }
  }
}

TEST(Decode, NeverChoosesWhatItMustNot) {
  const auto model = opinionated_model(tiny_config(), 9, suite_device());
  const std::vector<DecodeInput> inputs = random_inputs(10, 9, 23);
  const std::vector<int32_t> never = {kBos, kPad, kUnk, 4, 5, 7, 11, 12, 13};
  for (const auto& result : beam_search(*make_step_decoder(*model), inputs, {.nbest = 5, .never = never}))
    for (const Hypothesis& hypothesis : result)
      for (const int32_t token : hypothesis.tokens) EXPECT_EQ(std::ranges::count(never, token), 0);
  // Nothing but </s> is left.
  std::vector<int32_t> all;
  for (int32_t id = 0; id < 23; ++id)
    if (id != kEos) all.push_back(id);
  for (const auto& result : beam_search(*make_step_decoder(*model), inputs, {.nbest = 5, .never = all})) {
    ASSERT_EQ(result.size(), 1U);
    EXPECT_TRUE(result[0].tokens.empty() && result[0].ended);
  }
}

TEST(Decode, NoInputGivesNoOutput) {
  const auto model = opinionated_model(tiny_config(), 1, suite_device());
  EXPECT_TRUE(beam_search(*make_step_decoder(*model), {}, {}).empty());
}

TEST(Decode, RefusesWhatCannotBe) {
  const auto model = opinionated_model(tiny_config(), 1, suite_device());
  std::vector<DecodeInput> inputs = random_inputs(1, 4, 23);
  const auto refused = [&](const DecodeOptions& options) {
    return message_of<UserError>([&] { beam_search(*make_step_decoder(*model), inputs, options); });
  };
  EXPECT_EQ(refused({.beam = 0}), "a beam of 0 is outside 1 to 1000");
  EXPECT_EQ(refused({.beam = 2, .nbest = 3}), "n-best of 3 is outside 1 to the beam of 2; take a beam of 3");
  EXPECT_NE(refused({.length_penalty = std::nan("")}), "");
  EXPECT_EQ(refused({.no_repeat_ngram = -1}), "no sequence has -1 tokens");
  EXPECT_EQ(refused({.min_length = 33}),
            "a shortest translation of 33 tokens is outside 0 to the model's 32 positions");
  inputs[0].forced.resize(32, 6);
  EXPECT_EQ(refused({}), "a prefix of 32 tokens leaves no room in the 32 positions of the model");
  inputs[0].source.resize(33, 6);
  EXPECT_EQ(refused({}), "a source of 33 tokens is longer than the 32 the model has positions for");
}

TEST(Decode, SaysThatTheModelIsBroken) {
  const auto model = opinionated_model(tiny_config(), 1, suite_device());
  model->parameters()[model->catalogue().decoder_norm.weight].value.fill_(std::nan(""));
  const std::vector<DecodeInput> inputs = random_inputs(2, 4, 23);
  EXPECT_NE(
      message_of<Error>([&] { beam_search(*make_step_decoder(*model), inputs, {}); }).find("not a number"),
      std::string::npos);
}

TEST(ScorePairs, TakesEmptySides) {
  const auto model = opinionated_model(tiny_config(), 2, suite_device());
  const std::vector<SentencePair> pairs = {
      {.source = {}, .target = {}, .source_tag = kSourceTag, .target_tag = kTargetTag},
      {.source = {7, 8}, .target = {}, .source_tag = kSourceTag, .target_tag = kTargetTag}};
  const std::vector<PairScore> scores = score_pairs(*model, pairs, 1);
  ASSERT_EQ(scores.size(), 2U);
  EXPECT_EQ(scores[0].tokens, 2);
  EXPECT_LT(scores[1].log_probability, 0);
  EXPECT_TRUE(score_pairs(*model, {}, 100).empty());
}

}  // namespace
}  // namespace chorus
