#include "plan/failures.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"

namespace chorus {
namespace {

/// The share of `hours` that was spent on updates that stayed, by going through them.
double simulated(const Failures& f, int64_t interval, double hours, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> wait(static_cast<double>(f.hosts) / f.between);
  const double end = hours * 3600, training = static_cast<double>(interval) * f.update,
               segment = training + f.save + std::max(0.0, f.write - training);
  double now = 0, kept = 0, failure = wait(random);
  bool written = true;  // what this segment goes on from
  while (now < end) {
    if (now + segment <= failure) {
      now += segment;
      kept += training;
      written = false;
      continue;
    }
    if (!written && failure < now + f.write) kept -= training;  // the save before that counts
    written = true;
    do {  // until a restart is through
      now = failure;
      failure += wait(random);
    } while (failure < now + f.restart);
    now += f.restart;
  }
  return kept / now;
}

TEST(Failures, GoodputIsThatOfASimulation) {
  for (const int64_t hosts : {1, 8, 64}) {
    for (const double write : {0, 40}) {
      const Failures f = {
          .between = 3 * 3600, .update = 0.8, .save = 5, .write = write, .restart = 90, .hosts = hosts};
      for (const int64_t interval : {20, 200, 2000})
        EXPECT_NEAR(goodput(f, interval), simulated(f, interval, 10000, hosts), 0.005)
            << hosts << " hosts, saved every " << interval << ", written in " << write;
    }
  }
}

TEST(Failures, BestIntervalIsTheBestOfAll) {
  for (const Failures& f :
       {Failures{.between = 3 * 3600, .update = 0.8, .save = 5, .restart = 90, .hosts = 8},
        Failures{.between = 3 * 3600, .update = 30, .save = 1, .restart = 600, .hosts = 100},
        Failures{.between = 1e6, .update = 2, .save = 0, .restart = 60, .hosts = 1},
        Failures{.between = 3 * 3600, .update = 0.8, .save = 1, .write = 60, .restart = 90, .hosts = 64},
        Failures{.between = 100, .update = 500, .save = 5, .restart = 5, .hosts = 1}}) {
    const int64_t best = best_interval(f);
    for (int64_t interval = 1; interval < 5000; ++interval)
      EXPECT_LE(goodput(f, interval), goodput(f, best)) << interval << ", not " << best;
  }
  // Young's first order, where failures are rare.
  const Failures rare = {.between = 1e8, .update = 1, .save = 10, .restart = 100, .hosts = 10};
  EXPECT_NEAR(static_cast<double>(best_interval(rare)), std::sqrt(2 * 10 * 1e7), 10);
}

TEST(Failures, WithoutHopeNothingOverflows) {
  const Failures hopeless = {.between = 60, .update = 100, .save = 1000, .restart = 1e5, .hosts = 1000};
  EXPECT_EQ(goodput(hopeless, best_interval(hopeless)), 0);
}

TEST(Failures, TimesAreRead) {
  EXPECT_EQ(parse_time("90s", "--failures"), 90);
  EXPECT_EQ(parse_time("20min", "--failures"), 1200);
  EXPECT_EQ(parse_time("1.5h", "--failures"), 5400);
  EXPECT_EQ(parse_time("2d", "--failures"), 172800);
  for (const char* const text : {"", "3", "h", "3 h", "-1h", "0s", "nans", "infd", "1e300h", "3hours"})
    EXPECT_THROW(parse_time(text, "--failures"), UserError) << text;
}

}  // namespace
}  // namespace chorus
