#include "decode/internal/constrained.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "decode/plain_search.h"
#include "suite_device.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

using Tokens = std::vector<int32_t>;

Phrases::State after(const Phrases& phrases, const Tokens& tokens) {
  Phrases::State state = phrases.start();
  for (const int32_t token : tokens) state = phrases.after(state, token);
  return state;
}

TEST(Phrases, FollowsWhatIsMet) {
  const std::vector<Tokens> wanted = {{7, 8, 9}, {7, 10}, {7, 8, 9}};
  const Phrases phrases(wanted);
  EXPECT_EQ(phrases.tokens(), 8U);
  EXPECT_EQ(phrases.next(phrases.start()), (Tokens{7, 7, 7}));
  EXPECT_EQ(after(phrases, {11, 7, 8}).tokens, 2U);
  EXPECT_EQ(phrases.next(after(phrases, {7, 8})), Tokens{9});
  EXPECT_EQ(after(phrases, {7, 8, 11}).tokens, 0U) << "broken off";
  EXPECT_EQ(after(phrases, {7, 8, 7}).tokens, 1U) << "begun anew";
  EXPECT_EQ(after(phrases, {7, 10}).tokens, 2U) << "another one with the same beginning";
  EXPECT_EQ(after(phrases, {7, 8, 9, 7, 8, 9}).tokens, 6U) << "twice";
  EXPECT_EQ(after(phrases, {7, 8, 9, 7, 8, 9, 7, 8}).tokens, 6U) << "7 8 begins nothing that is left";
}

TEST(Phrases, GoesOnAtTheLongestEnd) {
  const std::vector<Tokens> wanted = {{7, 7, 8}};
  const Phrases phrases(wanted);
  EXPECT_EQ(after(phrases, {7, 7, 7}).tokens, 2U);
  EXPECT_EQ(after(phrases, {7, 7, 7, 8}).tokens, 3U);
  EXPECT_TRUE(phrases.next(after(phrases, {7, 7, 8})).empty());
}

TEST(BankSizes, GiveWhatIsLeftToBanksBelow) {
  const auto sizes = [](size_t beam, std::vector<size_t> candidates) { return bank_sizes(beam, candidates); };
  EXPECT_EQ(sizes(6, {9, 9, 9}), (std::vector<size_t>{2, 2, 2}));
  EXPECT_EQ(sizes(5, {9, 9, 9}), (std::vector<size_t>{1, 1, 3}));
  EXPECT_EQ(sizes(5, {9, 1, 0}), (std::vector<size_t>{4, 1, 0}));
  EXPECT_EQ(sizes(1, {9, 2, 0, 0}), (std::vector<size_t>{0, 1, 0, 0})) << "fewer than banks";
}

bool contains(const Tokens& tokens, const Tokens& phrase) {
  return !std::ranges::search(tokens, phrase).empty();
}

TEST(ConstrainedSearch, TranslationsContainTheirPhrases) {
  std::vector<uint64_t> seeds = {4, 1, 9};
  if (!suite_device().is_cpu()) seeds.resize(1);
  for (const uint64_t seed : seeds) {
    const auto model = opinionated_model(tiny_config(), seed, suite_device());
    const auto steps = make_step_decoder(*model);
    std::vector<DecodeInput> inputs = random_inputs(12, 9, 23);
    const std::vector<DecodeInput> free = inputs;
    const std::vector<std::vector<Tokens>> phrases = {
        {{9}}, {{12, 13, 14}}, {{20, 20}, {8, 9, 10, 11}}, {}, {{7, 8}, {7, 9}, {15}}, {{16}, {16}}};
    for (size_t i = 0; i < inputs.size(); ++i) inputs[i].phrases = phrases[i % phrases.size()];
    for (const int64_t beam : {1, 2, 5, 12}) {
      const DecodeOptions options = {
          .beam = beam, .nbest = beam, .max_length_offset = 8, .never = {kBos, kPad}};
      const auto found = beam_search(*steps, inputs, options), plain = beam_search(*steps, free, options);
      for (size_t i = 0; i < inputs.size(); ++i) {
        ASSERT_FALSE(found[i].empty());
        for (const Hypothesis& one : found[i]) {
          for (const Tokens& phrase : inputs[i].phrases)
            EXPECT_TRUE(contains(one.tokens, phrase)) << i << " beam " << beam;
          EXPECT_TRUE(i % phrases.size() != 5 || std::ranges::count(one.tokens, 16) >= 2);
          EXPECT_LE(one.score, found[i][0].score);
        }
        if (!inputs[i].phrases.empty()) continue;
        ASSERT_EQ(found[i].size(), plain[i].size()) << "a sentence without phrases is as it was";
        for (size_t rank = 0; rank < plain[i].size(); ++rank)
          EXPECT_EQ(found[i][rank].tokens, plain[i][rank].tokens);
      }
    }
  }
}

void all_below(PlainModel& plain, const PlainResult& from, size_t limit, std::vector<PlainResult>& all) {
  const std::vector<double> log_p = plain(from.tokens);
  for (size_t token = kEos; token < log_p.size(); ++token) {
    PlainResult next = {from.tokens, from.score + log_p[token]};
    next.tokens.push_back(static_cast<int32_t>(token));
    if (token == kEos || next.tokens.size() == limit) {
      next.score /= static_cast<double>(next.tokens.size());
      all.push_back(std::move(next));
    } else {
      all_below(plain, next, limit, all);
    }
  }
}

TEST(ConstrainedSearch, ABeamWideEnoughIsExhaustive) {
  ModelConfig config = tiny_config();
  config.vocabulary = 9;
  const auto model = opinionated_model(config, 4, suite_device());
  std::vector<DecodeInput> inputs = random_inputs(4, 4, config.vocabulary);
  const std::vector<std::vector<Tokens>> phrases = {{{7}}, {{6, 8}}, {{8}, {6}}, {{7, 7}}};
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].phrases = phrases[i];
  const DecodeOptions options = {
      .beam = 400, .nbest = 8, .max_length_factor = 0, .max_length_offset = 4, .never = {kBos, kPad}};
  const auto results = beam_search(*make_step_decoder(*model), inputs, options);
  for (size_t i = 0; i < inputs.size(); ++i) {
    PlainModel plain(*model, inputs[i]);
    std::vector<PlainResult> all;
    all_below(plain, {{kTargetTag}, 0}, 4, all);
    std::erase_if(all, [&](const PlainResult& one) {
      return !std::ranges::all_of(phrases[i],
                                  [&](const Tokens& phrase) { return contains(one.tokens, phrase); });
    });
    std::ranges::sort(all, std::greater(), &PlainResult::score);
    ASSERT_GE(all.size(), 8U);
    for (size_t rank = 0; rank < 8; ++rank) {
      EXPECT_EQ(whole(inputs[i], results[i][rank]), all[rank].tokens) << i << " rank " << rank;
      EXPECT_NEAR(results[i][rank].score, all[rank].score, 1e-5);
    }
  }
}

TEST(ConstrainedSearch, CountsThePrefix) {
  const auto model = opinionated_model(tiny_config(), 4, suite_device());
  const auto steps = make_step_decoder(*model);
  DecodeInput input = random_inputs(1, 9, 23)[0];
  input.forced = {kTargetTag, 12, 13};
  const DecodeOptions options = {.beam = 4, .nbest = 4, .never = {kBos, kPad}};
  const auto plain = beam_search(*steps, {&input, 1}, options)[0];
  input.phrases = {{12, 13}};
  const auto met = beam_search(*steps, {&input, 1}, options)[0];
  ASSERT_EQ(met.size(), plain.size());
  for (size_t rank = 0; rank < met.size(); ++rank) EXPECT_EQ(met[rank].tokens, plain[rank].tokens);
}

TEST(ConstrainedSearch, PhrasesMayRepeatWhatNothingElseMay) {
  const auto model = opinionated_model(tiny_config(), 4, suite_device());
  const auto steps = make_step_decoder(*model);
  const DecodeInput plain = random_inputs(1, 9, 23)[0];
  const std::vector<std::vector<Tokens>> phrases = {{{12, 12, 12}}, {{12, 13}, {12, 13}}};
  for (const int64_t n : {1, 2}) {
    for (const auto& wanted : phrases) {
      DecodeInput input = plain;
      input.phrases = wanted;
      const auto found = beam_search(*steps, {&input, 1},
                                     {.beam = 3, .nbest = 3, .max_length_offset = 8, .no_repeat_ngram = n});
      ASSERT_FALSE(found[0].empty());
      for (const Hypothesis& one : found[0]) {
        EXPECT_TRUE(contains(one.tokens, wanted.front()));
        EXPECT_GE(std::ranges::count(one.tokens, 12), std::ssize(wanted) == 2 ? 2 : 3);
        if (n > 1) continue;
        std::map<int32_t, int> counts;
        for (const int32_t token : one.tokens) ++counts[token];
        for (const auto& [token, count] : counts) EXPECT_TRUE(count == 1 || token == 12 || token == 13);
      }
    }
  }
}

TEST(ConstrainedSearch, EndsWhereAPhraseIsForbidden) {
  const auto model = opinionated_model(tiny_config(), 4, suite_device());
  DecodeInput input = random_inputs(1, 9, 23)[0];
  input.phrases = {{12, 13}};
  const auto found = beam_search(*make_step_decoder(*model), {&input, 1}, {.beam = 3, .never = {12}});
  EXPECT_FALSE(found[0].empty());
  EXPECT_EQ(message_of<UserError>([&] {
              beam_search(*make_step_decoder(*model), {&input, 1}, {.diversity = 1});
            }),
            "a diverse beam cannot also see to phrases that translations must contain");
}

}  // namespace
}  // namespace chorus
