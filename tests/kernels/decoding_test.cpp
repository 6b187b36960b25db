#include "kernels/decoding.h"

#include <cmath>
#include <limits>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"

namespace chorus {
namespace {

class Decoding : public testing::TestWithParam<Isa> {
 protected:
  Decoding() { limit_isa(GetParam()); }
  ~Decoding() override { limit_isa(Isa::avx512_bf16); }
};

TEST_P(Decoding, EmbedsAsALookup) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto weight = at::randn({9, 21}).to(type), positions = at::randn({2, 21}).to(type);
    const auto ids = at::tensor({8, 0, 3, 3}, at::kLong);
    const auto expected =
        weight.to(at::kFloat).index_select(0, ids) * 3.5 + at::cat({positions, positions}).to(at::kFloat);
    EXPECT_TRUE(at::allclose(embed_rows(ids, weight, 3.5, positions), expected, 1e-6, 1e-6));
  }
}

TEST_P(Decoding, AttendsToTheSlotsOfItsGroup) {
  for (const auto& [width, type] : {std::pair(1, at::kFloat),
                                    {5, at::kFloat},
                                    {8, at::kFloat},
                                    {20, at::kFloat},
                                    {64, at::kFloat},
                                    {72, at::kFloat},
                                    {5, at::kBFloat16},
                                    {20, at::kBFloat16},
                                    {64, at::kBFloat16}}) {
    for (const int64_t group : {1, 2, 3}) {
      const int64_t heads = 3, d = heads * width;
      const auto store = at::randn({50, 2 * d}).to(type), query = at::randn({4 * group, d});
      const auto keys = store.narrow(1, 0, d), values = store.narrow(1, d, d);
      const std::vector<std::vector<int32_t>> seen = {{49}, {0, 7, 3}, {3, 7, 0, 7}, {}};
      auto slots = seen;
      for (int32_t i = 0; i < 40; ++i) slots[3].push_back(i * 7 % 50);
      const RowScores options =
          group == 1 ? RowScores()
                     : RowScores{.scale = 0.7, .bias = at::randn({heads, group == 2 ? 1 : group, 43})};
      const auto actual = attend_rows(query, keys, values, slots, heads, options);
      for (int64_t row = 0; row < 4 * group; ++row) {
        const auto& of_row = slots[row / group];
        const auto index = at::tensor(std::vector<int64_t>(of_row.begin(), of_row.end()));
        const auto k = keys.index_select(0, index).view({-1, heads, width}).transpose(0, 1).to(at::kDouble);
        const auto v = values.index_select(0, index).view({-1, heads, width}).transpose(0, 1).to(at::kDouble);
        const auto q = query[row].view({heads, 1, width}).to(at::kDouble);
        auto scores = at::matmul(q, k.transpose(1, 2)) * options.scale.value_or(1 / std::sqrt(width));
        if (options.bias.defined())
          scores =
              scores +
              options.bias.select(1, row % options.bias.size(1)).narrow(1, 0, index.numel()).unsqueeze(1);
        const auto expected = at::matmul(at::softmax(scores, -1), v).view(-1);
        EXPECT_TRUE(at::allclose(actual[row].to(at::kDouble), expected, 1e-4, 1e-5)) << width << " " << row;
      }
    }
  }
}

TEST_P(Decoding, FindsTheBestTokens) {
  for (const int64_t vocabulary : {1, 5, 64, 65, 1000, 32001}) {
    for (const auto& [most, rising] :
         {std::pair<int64_t, bool>{8, false}, {8, true}, {300, false}, {300, true}}) {
      const int64_t k =
          std::min(most, vocabulary > 20 ? vocabulary - 6 : vocabulary);  // of those that may be
      auto logits = at::randn({5, vocabulary}) * 4;
      if (rising) logits = std::get<0>(at::sort(logits));  // every block has a new best
      std::vector<int32_t> never;
      if (vocabulary > 20) never = {0, 3, static_cast<int32_t>(vocabulary - 1)};
      auto masked = at::log_softmax(logits.to(at::kDouble), -1);
      for (const int32_t token : never) masked.select(1, token).fill_(-INFINITY);
      RowTokens banned;
      if (vocabulary > 60) banned = {{4, 1, 4}, {17, vocabulary - 2, 18}};
      for (size_t i = 0; i < banned.rows.size(); ++i)
        masked[banned.rows[i]][banned.tokens[i]].fill_(-INFINITY);
      const auto [values, tokens] = at::topk(masked, k, 1);
      const BestTokens best = best_tokens(logits.clone(), never, banned, k);
      EXPECT_TRUE(at::equal(best.tokens, tokens)) << vocabulary;
      EXPECT_TRUE(at::allclose(best.log_probabilities.to(at::kDouble), values, 1e-5, 1e-5)) << vocabulary;
    }
  }
}

TEST_P(Decoding, PenalisesBeforeItChooses) {
  for (const double factor : {0.5, 1.0, 3.0}) {
    for (const bool of_logits : {false, true}) {
      const auto logits = at::randn({3, 500}) * 4;
      Penalty penalty = {.factor = factor, .of_logits = of_logits};
      const at::Tensor total = at::logsumexp(logits.to(at::kDouble), {1}, true);
      at::Tensor changed = logits.to(at::kDouble);
      for (int64_t token = 0; token < 500; token += 3) {
        const int64_t row = token % 2;  // the last one has none
        penalty.on.rows.push_back(row);
        penalty.on.tokens.push_back(token);
        const double x = changed[row][token].item<double>(), t = of_logits ? 0 : total[row].item<double>();
        changed[row][token] = of_logits && x > 0 ? x / factor : t + (x - t) * factor;
      }
      const auto [values, tokens] = at::topk(changed - total, 8, 1);
      const BestTokens best = best_tokens(logits.clone(), {}, {}, 8, penalty);
      EXPECT_TRUE(at::equal(best.tokens, tokens)) << factor;
      EXPECT_TRUE(at::allclose(best.log_probabilities.to(at::kDouble), values, 1e-5, 1e-5)) << factor;
    }
  }
}

TEST_P(Decoding, PrefersTheLowestOfEqualTokens) {
  const BestTokens best = best_tokens(at::zeros({1, 200}), {1}, {}, 4);
  EXPECT_TRUE(at::equal(best.tokens, at::tensor({0, 2, 3, 4}, at::kLong).view({1, 4})));
  EXPECT_NEAR(best.log_probabilities[0][3].item<double>(), -std::log(200.0), 1e-5);
}

TEST_P(Decoding, LetsNanThrough) {
  for (const double bad : {std::nan(""), double(INFINITY)}) {
    auto logits = at::randn({3, 100});
    logits[1][77] = bad;
    const BestTokens best = best_tokens(logits, {}, {}, 4);
    EXPECT_TRUE(best.log_probabilities[1].isnan().any().item<bool>());
    EXPECT_FALSE(best.log_probabilities[0].isnan().any().item<bool>());
    EXPECT_TRUE(best.tokens.ge(0).logical_and(best.tokens.lt(100)).all().item<bool>());
  }
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, Decoding, testing::Values(Isa::plain, Isa::avx512));

}  // namespace
}  // namespace chorus
