#include "base/progress.h"

#include <stdexcept>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace chorus {
namespace {

struct ProgressTest : testing::Test {
  Console make(int width) {
    return Console({[this](std::string_view text) { written += text; }, [width] { return width; },
                    [this] { return now; }});
  }
  std::string take() { return std::exchange(written, ""); }

  double now = 100;
  std::string written;
};

TEST_F(ProgressTest, PlainLinesComeFirstThenAtIntervalsAndLast) {
  Console plain = make(0);
  {
    Progress progress({.task = "training", .unit = "update", .total = 1000}, plain);
    progress.update(0);
    EXPECT_EQ(take(), "training  0%  0/1000 updates\n");
    now += 9.9;
    progress.update(99, "loss 5");
    EXPECT_EQ(take(), "");
    now += 0.1;
    progress.update(100, "loss 4.9");
    EXPECT_EQ(take(), "training  10%  100/1000 updates  10/s  left 1m30s  loss 4.9\n");
    now += 10;
    progress.update(300);
    EXPECT_EQ(take(), "training  30%  300/1000 updates  20/s  left 35s\n");
    now += 5;
    progress.update(1000, "loss 1");
    EXPECT_EQ(take(), "");
  }
  EXPECT_EQ(take(), "training  1000 updates in 25s  40/s  loss 1\n");
}

TEST_F(ProgressTest, ATerminalLineIsRewrittenAndCutToTheWidth) {
  Console terminal = make(24);
  Progress progress({.task = "reading", .unit = "line"}, terminal);
  progress.update(5, "caf\xC3\xA9 caf\xC3\xA9 caf\xC3\xA9");
  EXPECT_EQ(take(), "\r\x1b[Kreading  5 lines  caf\xC3\xA9 ");
  now += 0.05;
  progress.advance();
  EXPECT_EQ(take(), "");
  now += 0.06;
  progress.advance(2'000'000);
  EXPECT_EQ(take().substr(0, 25), "\r\x1b[Kreading  2.00M lines ");
  terminal.print("a word");
  EXPECT_EQ(take(), "\r\x1b[Ka word\nreading  2.00M lines  1");
  progress.finish();
  EXPECT_EQ(take().substr(0, 8), "\r\x1b[Kread");
  progress.finish();
  progress.update(7);
  EXPECT_EQ(take(), "");
}

TEST_F(ProgressTest, AResumedRunDoesNotCountWhatWasDoneBefore) {
  Console plain = make(0);
  Progress progress({.task = "t", .unit = "step", .total = 1000, .start = 900}, plain);
  now += 10;
  progress.update(910);
  EXPECT_EQ(take(), "t  91%  910/1000 steps  1/s  left 1m30s\n");
  now += 10;
  progress.finish();
  EXPECT_EQ(take(), "t  910 steps in 20s  0.50/s\n");
}

TEST_F(ProgressTest, AnExpectedTotalGivesTheShareAndTheTimeLeft) {
  Console plain = make(0);
  Progress progress({.task = "t", .unit = "step"}, plain);
  now += 10;
  progress.expect(400);
  progress.update(100);
  EXPECT_EQ(take(), "t  25%  100 steps  10/s  left 30s\n");
  now += 10;
  progress.expect(150);  // an estimate may fall short
  progress.update(200);
  EXPECT_EQ(take(), "t  100%  200 steps  10/s\n");
}

TEST_F(ProgressTest, ALimitOfTimeCountsWhereItComesFirst) {
  Console plain = make(0);
  Progress progress({.task = "t", .unit = "step", .start = 500}, plain);  // in 300 s of an earlier start
  now += 10;
  progress.limit(310, 400);
  progress.update(510);
  EXPECT_EQ(take(), "t  77%  510 steps  1/s  left 1m30s\n");  // whatever the rate was before
  now += 10;
  progress.expect(530);
  progress.limit(320, 400);
  progress.update(520);
  EXPECT_EQ(take(), "t  98%  520 steps  1/s  left 10s\n");
  now += 10;
  progress.expect(100'000);
  progress.limit(330, 400);
  progress.update(530);
  EXPECT_EQ(take(), "t  82%  530 steps  1/s  left 1m10s\n");
}

TEST_F(ProgressTest, QuietSaysNothing) {
  for (const int width : {0, 80}) {
    Console quiet = make(width);
    quiet.set_quiet(true);
    {
      Progress progress({.task = "t", .unit = "step"}, quiet);
      progress.advance();
      now += 100;
      progress.update(5, "n");
    }
    EXPECT_EQ(take(), "");
  }
}

TEST_F(ProgressTest, AnExceptionClearsTheLineAndClaimsNothing) {
  Console terminal = make(80);
  try {
    Progress progress({.task = "t", .unit = "step"}, terminal);
    progress.advance();
    take();
    throw std::runtime_error("x");
  } catch (const std::runtime_error&) {
  }
  EXPECT_EQ(take(), "\r\x1b[K");
}

TEST_F(ProgressTest, ThreadsMayAdvanceTogether) {
  Console terminal = make(80);
  Progress progress({.task = "t", .unit = "step"}, terminal);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 1000; ++i) {
        progress.advance();
        if (i % 100 == 0) terminal.print("line");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  take();
  progress.finish();
  EXPECT_EQ(take(), "\r\x1b[Kt  4000 steps in 0.0s\n");
}

}  // namespace
}  // namespace chorus
