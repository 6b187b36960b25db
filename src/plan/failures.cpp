#include "plan/failures.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "base/error.h"

namespace chorus::inline plan {

double goodput(const Failures& f, int64_t interval) {
  const double rate = static_cast<double>(f.hosts) / f.between,
               training = static_cast<double>(interval) * f.update,
               held = f.save + std::max(0.0, f.write - training);
  return training * rate / (std::expm1(rate * (training + held)) * std::exp(rate * (f.restart + f.write)));
}

int64_t best_interval(const Failures& f) {
  // Goodput rises to its highest, near sqrt(2 save / rate), and falls: no interval is worth more than the time between
  // failures.
  int64_t low = 1,
          high = std::max<int64_t>(1, std::llround(f.between / static_cast<double>(f.hosts) / f.update));
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (goodput(f, middle) < goodput(f, middle + 1))
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

double parse_time(std::string_view text, std::string_view option) {
  constexpr std::array<std::pair<std::string_view, double>, 4> kUnits = {
      {{"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}}};
  constexpr double kMost = 10 * 365.25 * 86400;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view rest = text.substr(end - text.data());
  const auto* const unit = std::ranges::find(kUnits, rest, &std::pair<std::string_view, double>::first);
  const double seconds = unit == kUnits.end() ? 0 : number * unit->second;
  if (error != std::errc() || !(seconds > 0 && seconds <= kMost))
    throw UserError("{} {}: give a time above 0, such as 90s, 20min, 3h or 2d", option, text);
  return seconds;
}

}  // namespace chorus::inline plan
