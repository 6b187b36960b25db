#include "optim/config.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/error.h"

namespace chorus {
namespace {

constexpr Duration::Unit kUpdates = Duration::Unit::updates, kTokens = Duration::Unit::tokens;

OptimConfig config_of(Schedule schedule, int64_t warmup) {
  OptimConfig config;
  config.learning_rate = 8;
  config.schedule = schedule;
  config.warmup = {.count = warmup, .unit = kUpdates};
  return config;
}

double rate(const OptimConfig& config, int64_t update, int64_t total = 0) {
  return learning_rate_at(config, {.updates = update}, {.count = total, .unit = kUpdates});
}

TEST(LearningRate, WarmsUpFromTheFirstUpdate) {
  for (const Schedule s : {Schedule::inverse_sqrt, Schedule::cosine, Schedule::linear, Schedule::constant}) {
    EXPECT_DOUBLE_EQ(rate(config_of(s, 4), 1, 100), 2);
    EXPECT_DOUBLE_EQ(rate(config_of(s, 4), 4, 100), 8);
    EXPECT_DOUBLE_EQ(rate(config_of(s, 0), 0, 100), 8);
  }
}

TEST(LearningRate, FollowsItsSchedule) {
  EXPECT_DOUBLE_EQ(rate(config_of(Schedule::constant, 4), 1000), 8);
  EXPECT_DOUBLE_EQ(rate(config_of(Schedule::inverse_sqrt, 4), 16), 4);
  EXPECT_DOUBLE_EQ(rate(config_of(Schedule::inverse_sqrt, 0), 16), 2);
  EXPECT_DOUBLE_EQ(rate(config_of(Schedule::linear, 20), 60, 100), 4);
  EXPECT_DOUBLE_EQ(rate(config_of(Schedule::cosine, 20), 60, 100), 4);
  EXPECT_NEAR(rate(config_of(Schedule::cosine, 20), 40, 100), 4 + 4 * std::sqrt(0.5), 1e-12);
}

TEST(LearningRate, StopsAtItsFloor) {
  for (const Schedule s : {Schedule::inverse_sqrt, Schedule::cosine, Schedule::linear}) {
    OptimConfig config = config_of(s, 4);
    config.min_learning_rate = 1;
    EXPECT_DOUBLE_EQ(rate(config, 1'000'000, 100), 1);
    EXPECT_DOUBLE_EQ(rate(config, 1, 100), 2);
    config.min_learning_rate = 9;  // above the peak: the peak
    EXPECT_DOUBLE_EQ(rate(config, 1'000'000, 100), 8);
  }
}

TEST(LearningRate, CountsInTokensAndEpochs) {
  OptimConfig config = config_of(Schedule::inverse_sqrt, 0);
  config.warmup = {.count = 1000, .unit = kTokens};
  EXPECT_DOUBLE_EQ(learning_rate_at(config, {.updates = 1, .tokens = 250}, {}), 2);
  EXPECT_DOUBLE_EQ(learning_rate_at(config, {.updates = 9, .tokens = 4000}, {}), 4);
  config = config_of(Schedule::linear, 0);
  EXPECT_DOUBLE_EQ(
      learning_rate_at(config, {.updates = 7, .epochs = 2.5}, {.count = 10, .unit = Duration::Unit::epochs}),
      6);
  config.decay = {.count = 8, .unit = kUpdates};
  EXPECT_DOUBLE_EQ(learning_rate_at(config, {.updates = 6}, {.count = 100, .unit = kUpdates}), 2);
}

TEST(LearningRate, RefusesADecayWithoutAnEndAfterWarmup) {
  EXPECT_THROW(rate(config_of(Schedule::cosine, 4), 10, 0), UserError);
  EXPECT_THROW(rate(config_of(Schedule::linear, 100), 10, 100), UserError);
  EXPECT_THROW(
      learning_rate_at(config_of(Schedule::linear, 4), {.updates = 1}, {.count = 50, .unit = kTokens}),
      UserError);
}

TEST(OptimConfig, IsDescribed) {
  OptimConfig config;
  Schema schema;
  describe(schema, config);
  schema.set("optim.schedule=cosine");
  schema.set("optim.warmup=5Mt");
  EXPECT_EQ(config.schedule, Schedule::cosine);
  EXPECT_EQ(config.warmup, (Duration{5'000'000, kTokens}));
  EXPECT_THROW(schema.set("optim.beta1=1.5"), UserError);
}

TEST(Gradients, AreAppliedWhereTheirSquaresAreNumbers) {
  OptimConfig config;
  const double infinite = std::numeric_limits<double>::infinity();
  for (const double clip : {0.0, 1.0}) {
    config.clip_norm = clip;
    EXPECT_TRUE(can_apply(config, 0));
    EXPECT_TRUE(can_apply(config, 1e18));
    EXPECT_EQ(can_apply(config, 1e20), clip > 0);
    EXPECT_FALSE(can_apply(config, infinite));
    EXPECT_FALSE(can_apply(config, std::nan("")));
  }
}

}  // namespace
}  // namespace chorus
