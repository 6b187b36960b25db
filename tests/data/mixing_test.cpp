#include "data/mixing.h"

#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "base/error.h"

namespace chorus {
namespace {

DataSet::Part part(int32_t direction, int64_t examples, double weight = 1) {
  return {
      .direction = direction, .weight = weight, .examples = examples, .length_sum = examples, .longest = 1};
}

std::map<std::pair<int64_t, int64_t>, int64_t> count_epoch(const Mixing& mixing, int64_t epoch) {
  std::map<std::pair<int64_t, int64_t>, int64_t> seen;
  for (int64_t i = 0; i < mixing.draws_per_epoch(); ++i) {
    const Draw draw = mixing.draw(epoch, i);
    ++seen[{draw.part, draw.example}];
  }
  return seen;
}

TEST(Mixing, AtTemperatureOneAnEpochIsEveryExampleOnce) {
  const Mixing mixing({part(0, 1), part(1, 1000), part(2, 37), part(1, 5)}, 1, 42);
  EXPECT_EQ(mixing.draws_per_epoch(), 1043);
  for (const int64_t epoch : {0, 1, 7}) {
    const auto seen = count_epoch(mixing, epoch);
    EXPECT_EQ(seen.size(), 1043U);
    for (const auto& [example, count] : seen) EXPECT_EQ(count, 1);
  }
}

TEST(Mixing, TemperatureFlattensAsThePaperSays) {
  const Mixing mixing({part(0, 100000), part(1, 1000), part(2, 10)}, 5, 1);
  const double sum = std::pow(1e5, .2) + std::pow(1e3, .2) + std::pow(10, .2);
  EXPECT_EQ(mixing.draws_per_epoch(), 101010);
  EXPECT_NEAR(mixing.draws(0), 101010 * std::pow(1e5, .2) / sum, 1);
  EXPECT_NEAR(mixing.draws(1), 101010 * std::pow(1e3, .2) / sum, 1);
  EXPECT_NEAR(mixing.draws(2), 101010 * std::pow(10, .2) / sum, 1);
}

TEST(Mixing, ExamplesOfAPartAreUsedEvenlyAcrossEpochs) {
  const Mixing mixing({part(0, 900), part(1, 70)}, 5, 1);
  std::map<int64_t, int64_t> uses;
  for (const int64_t epoch : {0, 1, 2}) {
    for (const auto& [example, count] : count_epoch(mixing, epoch)) {
      if (example.first == 1) uses[example.second] += count;
    }
  }
  ASSERT_EQ(uses.size(), 70U);
  const int64_t expected = 3 * mixing.draws(1) / 70;
  for (const auto& [example, count] : uses) EXPECT_TRUE(count == expected || count == expected + 1);
}

TEST(Mixing, SplittingADirectionOverSourcesChangesNothing) {
  const Mixing whole({part(0, 3000), part(1, 500)}, 5, 1);
  const Mixing split({part(0, 1000), part(0, 2000), part(1, 500)}, 5, 1);
  EXPECT_NEAR(split.draws(0) + split.draws(1), whole.draws(0), 1);
  EXPECT_NEAR(split.draws(1), 2 * split.draws(0), 2);
}

TEST(Mixing, WeightsMultiply) {
  const Mixing mixing({part(0, 500, 3), part(1, 500)}, 5, 1);
  EXPECT_EQ(mixing.draws(0), 750);
  EXPECT_EQ(mixing.draws(1), 250);
}

TEST(Mixing, NoPartIsStarved) {
  const Mixing mixing({part(0, 1000000), part(1, 1), part(2, 1, 1e-6)}, 1, 1);
  EXPECT_EQ(mixing.draws(1), 1);
  EXPECT_EQ(mixing.draws(2), 1);
  EXPECT_EQ(mixing.draws_per_epoch(), 1000002);
  const Mixing tiny({part(0, 1, 1e6), part(1, 1, 1e-6)}, 1, 1);
  EXPECT_EQ(tiny.draws(0), 1);
  EXPECT_EQ(tiny.draws(1), 1);
}

TEST(Mixing, OrderDependsOnSeedAndEpoch) {
  const auto order = [](uint64_t seed, int64_t epoch) {
    const Mixing mixing({part(0, 50), part(1, 50)}, 1, seed);
    std::vector<std::pair<int64_t, int64_t>> draws;
    for (int64_t i = 0; i < 100; ++i)
      draws.emplace_back(mixing.draw(epoch, i).part, mixing.draw(epoch, i).example);
    return draws;
  };
  EXPECT_EQ(order(1, 0), order(1, 0));
  EXPECT_NE(order(1, 0), order(1, 1));
  EXPECT_NE(order(1, 0), order(2, 0));
}

TEST(Mixing, APartOfWeightNothingDoesNotMakeItsDirectionRarer) {
  const Mixing with({part(0, 1000), part(1, 1000), part(1, 100000, 0)}, 5, 1);
  EXPECT_NEAR(static_cast<double>(with.draws(0)), static_cast<double>(with.draws(1)), 1);
  EXPECT_EQ(with.draws(2), 0);
  const Mixing without({part(0, 1000), part(1, 1000, 0)}, 5, 1);  // a direction without any
  EXPECT_EQ(without.draws(0), 2000);
}

TEST(Mixing, RefusesNonsense) {
  EXPECT_THROW(Mixing({}, 1, 1), UserError);
  EXPECT_THROW(Mixing({part(0, 1)}, 0.5, 1), UserError);
  EXPECT_THROW(Mixing({part(0, 1)}, NAN, 1), UserError);
}

}  // namespace
}  // namespace chorus
