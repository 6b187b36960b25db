#include "base/progress.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <utility>

#include "base/text.h"

namespace chorus::inline base {
namespace {

constexpr double kRedraw = 0.1, kRateWindow = 10;  // seconds
constexpr double kShortest = 0.1;                  // a rate over less says nothing

/// From here on: a person wants to see updates one by one, but not lines of a corpus.
constexpr int64_t kShortened = 1'000'000;

std::string count_text(int64_t count) {
  return count < kShortened ? fmt::to_string(count) : human_count(static_cast<double>(count));
}

/// "1 update", "2.00M lines".
std::string amount(int64_t count, const std::string& unit) {
  return count < kShortened ? counted(count, unit) : count_text(count) + " " + unit + "s";
}

}  // namespace

Progress::Progress(ProgressOptions options, Console& where)
    : options_(std::move(options)),
      console_(where),
      exceptions_(std::uncaught_exceptions()),
      done_(options_.start),
      expected_(options_.total),
      next_show_(where.seconds()),
      began_(where.seconds()),
      older_{began_, options_.start},
      newer_(older_) {}

Progress::~Progress() {
  if (std::uncaught_exceptions() > exceptions_) {
    console_.clear_status();
  } else {
    finish();
  }
}

void Progress::advance(int64_t more) {
  done_ += more;
  const double now = console_.seconds();
  if (now < next_show_) return;
  const std::lock_guard lock(mutex_);
  if (now >= next_show_) show(now);
}

void Progress::update(int64_t done, std::string_view note) {
  done_ = done;
  const std::lock_guard lock(mutex_);
  note_ = note;
  const double now = console_.seconds();
  if (now >= next_show_) show(now);
}

void Progress::expect(int64_t total) {
  expected_ = total;
}

void Progress::limit(double passed, double seconds) {
  lasts_ = seconds;
  ends_ = console_.seconds() + seconds - passed;
}

void Progress::finish() {
  const std::lock_guard lock(mutex_);
  if (std::exchange(finished_, true)) return;
  console_.clear_status();
  if (console_.quiet()) return;
  const double seconds = console_.seconds() - began_;
  const int64_t done = done_ - options_.start;
  std::string text =
      fmt::format("{}  {} in {}", options_.task, amount(done_, options_.unit), human_seconds(seconds));
  if (seconds > 0 && done > 0)
    text += fmt::format("  {}/s", human_count(static_cast<double>(done) / seconds));
  if (!note_.empty()) text += fmt::format("  {}", note_);
  console_.print(text);
}

void Progress::show(double now) {
  if (finished_) return;
  const bool terminal = console_.is_terminal();
  next_show_ = now + (terminal ? kRedraw : options_.interval);
  if (now - newer_.time >= kRateWindow) {
    older_ = newer_;
    newer_ = {now, done_};
  }
  if (terminal) {
    console_.show_status(line(now));
  } else if (!console_.quiet()) {
    console_.print(line(now));
  }
}

std::string Progress::line(double now) const {
  const int64_t done = done_, total = std::max(done, expected_.load());
  std::string text = options_.task;
  // Whichever ends it first.
  double share = expected_ > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0,
         left = std::max(ends_ - now, 0.0);
  const bool limited = std::isfinite(left);
  if (limited) share = std::clamp(1 - left / lasts_, share, 1.0);
  if (expected_ > 0 || limited) text += fmt::format("  {}%", static_cast<int>(100.0 * share));
  text += "  ";
  if (options_.total > 0) text += count_text(done) + "/";
  text += amount(options_.total > 0 ? options_.total : done, options_.unit);
  const double elapsed = now - older_.time;
  const double rate = elapsed >= kShortest ? static_cast<double>(done - older_.done) / elapsed : 0;
  if (rate > 0) {
    text += fmt::format("  {}/s", human_count(rate));
    if (total > done) left = std::min(left, static_cast<double>(total - done) / rate);
  }
  if (std::isfinite(left)) text += fmt::format("  left {}", human_seconds(left));
  if (!note_.empty()) text += fmt::format("  {}", note_);
  return text;
}

}  // namespace chorus::inline base
