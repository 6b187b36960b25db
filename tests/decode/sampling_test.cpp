#include "decode/sampling.h"

#include <cmath>
#include <functional>
#include <map>
#include <set>

#include <gtest/gtest.h>

#include "decode/fixtures.h"
#include "decode/scorer.h"
#include "decode/small_model.h"
#include "metrics/bleu.h"
#include "metrics/chrf.h"
#include "suite_device.h"

#include "decode/internal/draw.h"

namespace chorus {
namespace {

constexpr float kNone = -HUGE_VALF;

/// What each token may be drawn with.
std::vector<double> probabilities(std::span<const float> logits, const Sampling& sampling) {
  const std::vector<Weighted> possible = possible_tokens(logits, sampling);
  std::vector<double> made(logits.size());
  double total = 0;
  for (const auto& [token, weight] : possible) total += weight;
  for (const auto& [token, weight] : possible) made[token] = weight / total;
  return made;
}

struct Warped {
  Sampling sampling;
  std::vector<float> probabilities;
};

// What the warpers of transformers 4.57.1 make of these logits: TemperatureLogitsWarper, TopKLogitsWarper,
// TopPLogitsWarper and EpsilonLogitsWarper, one after the other, then softmax.
TEST(PossibleTokens, AreThoseOfTransformers) {
  const std::vector<float> logits = {2.25,  -0.5, -3.25,  1.25,   -1.625, -2.125,
                                     0.625, 1.25, -1.125, -0.625, -0.875, 0.25};
  const std::vector<Warped> cases = {
      {{},
       {0.4340402F, 0.02774726F, 0.001773823F, 0.1596745F, 0.009008218F, 0.00546376F, 0.08546759F, 0.1596745F,
        0.01485204F, 0.02448688F, 0.0190704F, 0.05874096F}},
      {{.temperature = 0.7},
       {0.5893365F, 0.01159328F, 0.0002280602F, 0.1412351F, 0.002323985F, 0.001137687F, 0.05783352F,
        0.1412351F, 0.004747265F, 0.009697367F, 0.006784981F, 0.03384714F}},
      {{.top_k = 5}, {0.4835576F, 0, 0, 0.1778909F, 0, 0, 0.09521814F, 0.1778909F, 0, 0, 0, 0.06544241F}},
      {{.top_k = 2}, {0.5761169F, 0, 0, 0.2119416F, 0, 0, 0, 0.2119416F, 0, 0, 0, 0}},
      {{.top_p = 0.8}, {0.5174187F, 0, 0, 0.1903477F, 0, 0, 0.1018858F, 0.1903477F, 0, 0, 0, 0}},
      {{.epsilon = 0.05},
       {0.4835576F, 0, 0, 0.1778909F, 0, 0, 0.09521814F, 0.1778909F, 0, 0, 0, 0.06544241F}},
      {{.temperature = 1.3, .top_k = 9, .top_p = 0.9, .epsilon = 0.04},
       {0.3923813F, 0.04731604F, 0, 0.1818175F, 0, 0, 0.1124191F, 0.1818175F, 0, 0, 0, 0.08424864F}},
      {{.temperature = 0.5, .top_k = 3, .top_p = 0.5, .epsilon = 0.2}, {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
      {{.temperature = 2, .top_p = 0.95, .epsilon = 0.06},
       {0.305108F, 0.07714339F, 0, 0.1850574F, 0, 0, 0.1353909F, 0.1850574F, 0, 0, 0, 0.112243F}},
      {{.epsilon = 0.9}, {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
      {{.top_p = 0.01}, {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}};
  for (size_t i = 0; i < cases.size(); ++i) {
    const std::vector<double> made = probabilities(logits, cases[i].sampling);
    for (size_t token = 0; token < logits.size(); ++token)
      EXPECT_NEAR(made[token], cases[i].probabilities[token], 1e-6) << "case " << i << " token " << token;
  }
}

TEST(PossibleTokens, LeavesOutWhatMustNotBe) {
  EXPECT_EQ(probabilities(std::vector{kNone, 1.F, kNone}, {.top_k = 3, .top_p = 0.5, .epsilon = 0.9}),
            (std::vector<double>{0, 1, 0}));
  EXPECT_TRUE(possible_tokens(std::vector{kNone, kNone}, {}).empty());
  for (const float broken : {std::nanf(""), HUGE_VALF}) {
    EXPECT_THROW(possible_tokens(std::vector{broken, 1.F}, {}), Error);
    EXPECT_THROW(possible_tokens(std::vector{1.F, broken}, {}), Error);
    EXPECT_THROW(possible_tokens(std::vector{kNone, broken}, {}), Error);
  }
}

TEST(TokenAt, GivesEachTokenItsShare) {
  const std::vector<Weighted> tokens = {{7, 1}, {3, 2}, {9, 5}};
  for (const auto& [share, token] :
       std::map<double, int32_t>{{0, 7}, {0.124, 7}, {0.125, 3}, {0.374, 3}, {0.376, 9}, {1 - 0x1p-53, 9}})
    EXPECT_EQ(token_at(tokens, share), token) << share;
}

std::vector<DecodeInput> inputs_with_keys(int64_t count) {
  std::vector<DecodeInput> inputs = random_inputs(count, 8, tiny_config().vocabulary);
  for (size_t i = 0; i < inputs.size(); ++i) inputs[i].random = RandomKey(1).derive(i);
  return inputs;
}

// Each first token, and each second one after the most frequent first, as often as its probability says.
TEST(Sample, DrawsFromTheModelsDistribution) {
  if (!suite_device().is_cpu()) GTEST_SKIP() << "thousands of samples take a device long";
  const auto model = opinionated_model(tiny_config(), 1);
  const auto steps = make_step_decoder(*model);
  std::vector<DecodeInput> inputs = inputs_with_keys(3);
  const Sampling sampling = {.temperature = 1.5, .top_k = 12, .top_p = 0.95, .epsilon = 0.01};
  constexpr int64_t kRounds = 4, kSamples = kRounds * 1000;
  const DecodeOptions options = {
      .nbest = kSamples / kRounds, .max_length_factor = 0, .max_length_offset = 3, .never = {kBos, kPad}};
  std::vector<std::map<std::vector<int32_t>, int64_t>> all_seen(inputs.size());
  for (int64_t round = 0; round < kRounds; ++round) {
    for (DecodeInput& input : inputs) input.random = input.random.derive("again");
    const auto results = sample(*steps, inputs, options, sampling);
    for (size_t i = 0; i < inputs.size(); ++i) {
      for (const Hypothesis& one : results[i]) {
        std::vector<int32_t> tokens = one.tokens;
        if (one.ended) tokens.push_back(kEos);
        ++all_seen[i][{tokens[0]}];
        if (tokens.size() > 1) ++all_seen[i][tokens];
      }
    }
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::map<std::vector<int32_t>, int64_t>& seen = all_seen[i];
    const auto first = std::ranges::max_element(seen, {}, [](const auto& entry) {
      return entry.first.size() == 1 && entry.first[0] != kEos ? entry.second : 0;
    });
    for (const auto& [before, of] :
         {std::pair{std::vector<int32_t>(), kSamples}, {first->first, first->second}}) {
      const auto decoding = steps->start(
          steps->encode(steps->make_side(inputs[i].source, 1, std::ssize(inputs[i].source))), {}, 4);
      at::Tensor logits = decoding->step(at::full({1}, kEos, at::kLong));
      std::vector<int32_t> given = {kTargetTag};
      given.insert(given.end(), before.begin(), before.end());
      for (const int32_t token : given) logits = decoding->step(at::full({1}, token, at::kLong));
      logits.view(-1)[kBos] = logits.view(-1)[kPad] = kNone;
      const std::vector<double> expected =
          probabilities({logits.const_data_ptr<float>(), static_cast<size_t>(logits.numel())}, sampling);
      double chi_squared = 0;
      int64_t possible = 0;
      for (size_t token = 0; token < expected.size(); ++token) {
        std::vector<int32_t> tokens = before;
        tokens.push_back(static_cast<int32_t>(token));
        const double count = seen.contains(tokens) ? static_cast<double>(seen[tokens]) : 0;
        const double mean = expected[token] * static_cast<double>(of);
        if (mean == 0) {
          EXPECT_EQ(count, 0) << token;
          continue;
        }
        chi_squared += (count - mean) * (count - mean) / mean;
        ++possible;
      }
      EXPECT_GT(possible, 1) << "there is something to choose";
      // Of `possible` - 1 degrees of freedom: four standard deviations above its mean.
      const auto freedom = static_cast<double>(possible - 1);
      EXPECT_LT(chi_squared, freedom + 4 * std::sqrt(2 * freedom));
    }
  }
}

TEST(Sample, DependsOnSeedLineAndNumberAlone) {
  const auto model = opinionated_model(tiny_config(), 5, suite_device());
  const auto steps = make_step_decoder(*model);
  std::vector<DecodeInput> inputs = inputs_with_keys(20);
  for (size_t i = 0; i < inputs.size(); i += 3) inputs[i].forced.push_back(9);
  const DecodeOptions options = {.nbest = 5, .max_length_offset = 5};
  const auto together = sample(*steps, inputs, options, {});
  DecodeOptions few = options;
  few.nbest = 2;
  few.batch_tokens = 1;
  const auto alone = sample(*steps, inputs, few, {});
  size_t different = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    ASSERT_EQ(together[i].size(), 5U);
    ASSERT_EQ(alone[i].size(), 2U);
    for (size_t k = 0; k < 2; ++k) {
      EXPECT_EQ(alone[i][k].tokens, together[i][k].tokens);
      EXPECT_NEAR(alone[i][k].score, together[i][k].score, 1e-5);
    }
    different += together[i][0].tokens != together[i][1].tokens;
    inputs[i].random = RandomKey(2).derive(i);
  }
  EXPECT_GT(different, 10U) << "samples differ";
  const auto others = sample(*steps, inputs, options, {});
  different = 0;
  for (size_t i = 0; i < inputs.size(); ++i) different += together[i][0].tokens != others[i][0].tokens;
  EXPECT_GT(different, 10U) << "keys differ";
}

// With nothing but the most probable token left it is the greedy search.
TEST(Sample, OfOneTokenIsGreedy) {
  const auto model = opinionated_model(tiny_config(), 6, suite_device());
  const auto steps = make_step_decoder(*model);
  const std::vector<DecodeInput> inputs = inputs_with_keys(10);
  for (const double penalty : {1.0, 1.5}) {
    const DecodeOptions options = {.beam = 1,
                                   .max_length_factor = 1,
                                   .no_repeat_ngram = 3,
                                   .repetition_penalty = penalty,
                                   .never = {kBos}};
    const auto greedy = beam_search(*steps, inputs, options);
    for (const Sampling& sampling :
         {Sampling{.top_k = 1}, Sampling{.top_p = 1e-6}, Sampling{.epsilon = 0.99}}) {
      const auto drawn = sample(*steps, inputs, options, sampling);
      for (size_t i = 0; i < inputs.size(); ++i) {
        EXPECT_EQ(drawn[i][0].tokens, greedy[i][0].tokens);
        EXPECT_NEAR(drawn[i][0].score, greedy[i][0].score, 1e-5);
        EXPECT_EQ(drawn[i][0].ended, greedy[i][0].ended);
      }
    }
  }
}

TEST(Sample, ScoresAreTheModels) {
  const auto model = opinionated_model(tiny_config(), 8, suite_device());
  const std::vector<DecodeInput> inputs = inputs_with_keys(8);
  size_t ended = 0;
  for (const Sampling& sampling : {Sampling{}, Sampling{.temperature = 0.7, .top_k = 4}}) {
    const auto results =
        sample(*make_step_decoder(*model), inputs, {.nbest = 4, .never = {kBos, 6}}, sampling);
    for (size_t i = 0; i < inputs.size(); ++i) {
      for (const Hypothesis& one : results[i]) {
        double sum = 0;
        for (const float log_p : one.log_probabilities) sum += log_p;
        EXPECT_NEAR(sum, one.log_probability, 1e-4);
        ASSERT_EQ(one.log_probabilities.size(), one.tokens.size() + (one.ended ? 1 : 0));
        if (!one.ended) continue;
        ++ended;
        const SentencePair pair = {.source = {inputs[i].source.begin() + 1, inputs[i].source.end() - 1},
                                   .target = one.tokens,
                                   .source_tag = kSourceTag,
                                   .target_tag = kTargetTag};
        EXPECT_NEAR(score_pairs(*model, {&pair, 1}, 100)[0].log_probability, one.log_probability, 1e-3);
      }
    }
  }
  EXPECT_GT(ended, 10U);
}

TEST(Sample, EndsWhereNothingIsLeftToChoose) {
  const auto model = opinionated_model(tiny_config(), 8, suite_device());
  std::vector<int32_t> never;
  for (int32_t id = 0; id < 23; ++id)
    if (id != 7 && id != 9) never.push_back(id);
  for (const auto& result : sample(*make_step_decoder(*model), inputs_with_keys(3),
                                   {.nbest = 3, .no_repeat_ngram = 1, .never = never}, {})) {
    ASSERT_EQ(result.size(), 3U);
    for (const Hypothesis& hypothesis : result) {
      EXPECT_EQ(hypothesis.tokens.size(), 2U);
      EXPECT_FALSE(hypothesis.ended);
    }
  }
  EXPECT_TRUE(sample(*make_step_decoder(*model), {}, {}, {}).empty());
}

TEST(Sample, RefusesWhatCannotBe) {
  const auto model = opinionated_model(tiny_config(), 1, suite_device());
  const auto refused = [&](const Sampling& sampling, int64_t samples = 1) {
    return message_of<UserError>(
        [&] { sample(*make_step_decoder(*model), inputs_with_keys(1), {.nbest = samples}, sampling); });
  };
  EXPECT_EQ(refused({}, 0), "0 samples are outside 1 to 1024");
  EXPECT_EQ(refused({.temperature = 0}), "a temperature of 0: it must be a number above 0 (1: none)");
  for (const double beyond_fp32 : {HUGE_VAL, 1e39, 1e-46})
    EXPECT_NE(refused({.temperature = beyond_fp32}), "") << beyond_fp32;
  EXPECT_EQ(refused({.top_k = -1}), "a top-k of -1: it must be 0 (all) or more");
  for (const double p : {0.0, 1.1, std::nan("")}) EXPECT_NE(refused({.top_p = p}), "");
  for (const double e : {-0.1, 1.0, std::nan("")}) EXPECT_NE(refused({.epsilon = e}), "");
}

TEST(Translator, DrawsByTheLinesNumber) {
  TranslatorOptions options = small_options(2);
  options.sampling = Sampling{.seed = 7};
  const LineTranslator translator(small_model(), small_vocabulary(), options);
  const SourceLine a = {.text = "some words", .number = 4}, b = {.text = "some words", .number = 5};
  const auto together = translator.translate(std::vector{a, b, a});
  const auto texts = [](const TranslatedLine& line) {
    return std::pair(line.best[0].text, line.best[1].text);
  };
  EXPECT_EQ(texts(together[0]), texts(together[2]));
  EXPECT_NE(texts(together[0]), texts(together[1]));
  EXPECT_EQ(texts(together[1]), texts(translator.translate({&b, 1})[0]));
  options.sampling->seed = 8;
  EXPECT_NE(texts(together[0]),
            texts(LineTranslator(small_model(), small_vocabulary(), options).translate({&a, 1})[0]));
}

TEST(Translator, KeepsWhatIsWorthMostAgainstTheOthers) {
  if (!suite_device().is_cpu()) GTEST_SKIP() << "what is told apart here is text";
  const SourceLine line = {.text = "some words", .number = 3};
  for (const bool samples : {true, false}) {
    TranslatorOptions options = small_options(12);
    options.decode.beam = 12;
    if (samples) options.sampling = Sampling{.temperature = 0.6};
    const auto candidates =
        LineTranslator(small_model(), small_vocabulary(), options).translate({&line, 1})[0].best;
    ASSERT_EQ(candidates.size(), 12U);
    std::vector<std::string> texts;
    for (const Translation& candidate : candidates) texts.push_back(candidate.text);
    for (const Utility utility : {Utility::chrf, Utility::bleu}) {
      const std::vector<double> worth =
          utility == Utility::chrf ? expected_chrf(texts) : expected_bleu(texts);
      std::map<double, std::set<std::string>, std::greater<>> expected;
      for (size_t i = 0; i < texts.size(); ++i) expected[worth[i]].insert(texts[i]);
      options.mbr = MbrOptions{.utility = utility, .candidates = 12};
      options.decode.nbest = 3;
      const auto best =
          LineTranslator(small_model(), small_vocabulary(), options).translate({&line, 1})[0].best;
      ASSERT_EQ(best.size(), 3U);
      EXPECT_EQ(best[0].score, expected.begin()->first);
      EXPECT_TRUE(expected.begin()->second.contains(best[0].text));
      std::set<std::string> kept;
      for (size_t rank = 0; rank < 3; ++rank) {
        kept.insert(best[rank].text);
        EXPECT_LE(best[rank].score, best[0].score);
        EXPECT_TRUE(expected[best[rank].score].contains(best[rank].text));
      }
      EXPECT_EQ(kept.size(), 3U) << "different ones";
      options.decode.nbest = 1;
      EXPECT_EQ(
          LineTranslator(small_model(), small_vocabulary(), options).translate({&line, 1})[0].best[0].text,
          best[0].text);
      options.decode.nbest = 12;
      options.mbr.reset();
    }
  }
  TranslatorOptions options = small_options();
  options.mbr = MbrOptions{.candidates = 1};
  const auto refused = [&] {
    return message_of<UserError>([&] { LineTranslator(small_model(), small_vocabulary(), options); });
  };
  EXPECT_EQ(refused(), "MBR chooses between candidates: 1 candidate is none to choose from");
  options.mbr->candidates = 3;
  options.decode.nbest = 4;
  EXPECT_EQ(refused(), "n-best of 4 is more than the 3 candidates");
  options.decode.nbest = 1;
  options.mbr->candidates = 4;
  const LineTranslator translator(small_model(), small_vocabulary(), options);
  EXPECT_EQ(message_of<UserError>([&] {
              static_cast<void>(translator.translate({&line, 1}));
            }),
            "n-best of 4 is outside 1 to the beam of 3; take a beam of 4");
}

}  // namespace
}  // namespace chorus
