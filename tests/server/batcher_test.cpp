#include "server/batcher.h"

#include <algorithm>
#include <future>
#include <optional>
#include <stdexcept>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace chorus {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<SourceLine> lines_of(const std::vector<std::string>& texts) {
  std::vector<SourceLine> lines;
  lines.reserve(texts.size());
  for (const std::string& text : texts) lines.push_back({.text = text});
  return lines;
}

/// Writes every line in brackets, and what it was given; "break" throws. Holds each batch until it is let go.
class Desk {
 public:
  explicit Desk(bool shares = true) {
    route = std::make_shared<const TranslationRoute>(TranslationRoute{
        .run = [this](std::span<const SourceLine> lines, const auto& stopped) { return run(lines, stopped); },
        .shares = shares});
  }
  /// So many batches may run.
  void let_go(int count = 1000) {
    const std::scoped_lock lock(mutex_);
    free_ += count;
    changed_.notify_all();
  }
  void wait_for_batches(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return batches_.size() >= count; });
  }
  std::vector<std::vector<std::string>> batches() {
    const std::scoped_lock lock(mutex_);
    return batches_;
  }

  std::shared_ptr<const TranslationRoute> route;

 private:
  std::vector<TranslatedLine> run(std::span<const SourceLine> lines,
                                  const std::function<bool(size_t)>& stopped) {
    {
      std::unique_lock lock(mutex_);
      std::vector<std::string>& batch = batches_.emplace_back();
      for (const SourceLine& line : lines) batch.push_back(line.text);
      changed_.notify_all();
      changed_.wait(lock, [&] { return free_ > 0; });
      --free_;
    }
    std::vector<TranslatedLine> made(lines.size());
    for (size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].text == "break") throw std::runtime_error("it broke");
      if (!stopped(i)) made[i].best = {{.text = "[" + lines[i].text + "]"}};
    }
    return made;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  int free_ = 0;
  std::vector<std::vector<std::string>> batches_;
};

/// What becomes of a job: its translations, or "late", "failed", "full".
class Asked {
 public:
  Asked(Batcher& batcher, const Desk& desk, const std::vector<std::string>& texts,
        TranslationJob::Clock::time_point deadline = TranslationJob::Clock::time_point::max()) {
    waiting =
        batcher.submit({.route = desk.route,
                        .lines = lines_of(texts),
                        .deadline = deadline,
                        .finish = [promise = promise_](JobEnd end, const std::vector<TranslatedLine>& lines) {
                          std::vector<std::string> made;
                          if (end != JobEnd::done) made.push_back(end == JobEnd::late ? "late" : "failed");
                          for (const TranslatedLine& line : lines) made.push_back(line.best.at(0).text);
                          promise->set_value(made);
                        }});
    if (!waiting) promise_->set_value({"full"});
  }
  std::vector<std::string> result() { return promise_->get_future().get(); }

  std::shared_ptr<Waiting> waiting;

 private:
  std::shared_ptr<std::promise<std::vector<std::string>>> promise_ =
      std::make_shared<std::promise<std::vector<std::string>>>();
};

TEST(Batcher, TranslatesTogetherWhatWaitsForOneRoute) {
  Desk german, french;
  Batcher batcher;
  Asked first(batcher, german, {"a"});
  german.wait_for_batches(1);
  Asked second(batcher, german, {"b", "c"}), third(batcher, french, {"d"}), fourth(batcher, german, {"e"});
  german.let_go();
  french.let_go();
  EXPECT_THAT(first.result(), ElementsAre("[a]"));
  EXPECT_THAT(second.result(), ElementsAre("[b]", "[c]"));
  EXPECT_THAT(third.result(), ElementsAre("[d]"));
  EXPECT_THAT(fourth.result(), ElementsAre("[e]"));
  EXPECT_THAT(german.batches(), ElementsAre(ElementsAre("a"), ElementsAre("b", "c", "e")));
  EXPECT_THAT(french.batches(), ElementsAre(ElementsAre("d")));
}

TEST(Batcher, DoesNotMixJobsWhereThatWouldShow) {
  Desk desk(false);
  Batcher batcher;
  Asked first(batcher, desk, {"a"});
  desk.wait_for_batches(1);
  Asked second(batcher, desk, {"b", "c"}), third(batcher, desk, {"d"});
  desk.let_go();
  EXPECT_THAT(third.result(), ElementsAre("[d]"));
  EXPECT_THAT(desk.batches(), ElementsAre(ElementsAre("a"), ElementsAre("b", "c"), ElementsAre("d")));
}

TEST(Batcher, LetsAShortJobPassALongOne) {
  Desk desk;
  Batcher batcher({.batch_lines = 3, .turn_lines = 2});
  Asked first(batcher, desk, {"0"});
  desk.wait_for_batches(1);
  Asked longest(batcher, desk, {"1", "2", "3", "4", "5"}), brief(batcher, desk, {"a"});
  desk.let_go();
  EXPECT_THAT(longest.result(), ElementsAre("[1]", "[2]", "[3]", "[4]", "[5]"));
  EXPECT_THAT(desk.batches(), ElementsAre(ElementsAre("0"), ElementsAre("1", "2", "a"), ElementsAre("3", "4"),
                                          ElementsAre("5")));
}

TEST(Batcher, BoundsABatchByBytesButTakesALineAlone) {
  Desk desk;
  Batcher batcher({.batch_bytes = 4});
  desk.let_go();
  Asked asked(batcher, desk, {"abc", "de", "fghijk", "", "l"});
  EXPECT_THAT(asked.result(), ElementsAre("[abc]", "[de]", "[fghijk]", "[]", "[l]"));
  EXPECT_THAT(desk.batches(), ElementsAre(ElementsAre("abc"), ElementsAre("de"), ElementsAre("fghijk"),
                                          ElementsAre("", "l")));
}

TEST(Batcher, FailsAloneWhoHasTheBadLine) {
  Desk desk;
  Batcher batcher;
  Asked first(batcher, desk, {"a"});
  desk.wait_for_batches(1);
  Asked good(batcher, desk, {"b"}), bad(batcher, desk, {"c", "break"}), other(batcher, desk, {"d"});
  desk.let_go();
  EXPECT_THAT(good.result(), ElementsAre("[b]"));
  EXPECT_THAT(bad.result(), ElementsAre("failed"));
  EXPECT_THAT(other.result(), ElementsAre("[d]"));
  Asked alone(batcher, desk, {"break"});
  EXPECT_THAT(alone.result(), ElementsAre("failed"));
  Asked after(batcher, desk, {"e"});
  EXPECT_THAT(after.result(), ElementsAre("[e]"));
}

TEST(Batcher, ForgetsWhoLeavesAndTellsWhoIsLate) {
  Desk desk;
  Batcher batcher;
  Asked running(batcher, desk, {"a"});
  desk.wait_for_batches(1);
  Asked waits(batcher, desk, {"b"}), stays(batcher, desk, {"c"}),
      late(batcher, desk, {"d"}, TranslationJob::Clock::now());
  running.waiting->abandon();
  waits.waiting->abandon();
  desk.let_go();
  EXPECT_THAT(stays.result(), ElementsAre("[c]"));
  EXPECT_THAT(late.result(), ElementsAre("late"));
  batcher.drain();
  EXPECT_THAT(desk.batches(), ElementsAre(ElementsAre("a"), ElementsAre("c")));
  EXPECT_EQ(batcher.load().jobs, 0U);
  EXPECT_EQ(batcher.load().lines, 0U);
}

TEST(Batcher, TakesNoMoreThanItMayAndNothingAtTheEnd) {
  Desk desk;
  Batcher batcher({.waiting_lines = 3});
  Asked large(batcher, desk, {"a", "b", "c", "d"});
  desk.wait_for_batches(1);
  Asked full(batcher, desk, {"e"});
  EXPECT_THAT(full.result(), ElementsAre("full"));
  desk.let_go();
  EXPECT_THAT(large.result(), ElementsAre("[a]", "[b]", "[c]", "[d]"));
  Asked nothing(batcher, desk, {});
  EXPECT_THAT(nothing.result(), IsEmpty());
  batcher.drain();
  Asked ended(batcher, desk, {"f"});
  EXPECT_THAT(ended.result(), ElementsAre("full"));
}

TEST(Batcher, FinishesWhatWaitsBeforeItEnds) {
  Desk desk;
  std::optional<Batcher> batcher(std::in_place);
  Asked first(*batcher, desk, {"a"});
  desk.wait_for_batches(1);
  Asked second(*batcher, desk, {"b"});
  desk.let_go();
  batcher.reset();
  EXPECT_THAT(first.result(), ElementsAre("[a]"));
  EXPECT_THAT(second.result(), ElementsAre("[b]"));
}

}  // namespace
}  // namespace chorus
