#include <array>
#include <limits>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "config/options.h"

namespace chorus::inline config {

Duration parse_duration(std::string_view text) {
  const auto fail = [&](std::string_view why) -> Duration {
    throw UserError("'{}' is not a duration: {} (\"20000u\" updates, \"5e\" epochs, \"50Mt\" target tokens)",
                    one_line(text), why);
  };
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  if (text == "0") return {};
  int64_t count = 0, decimals = 1;  // the number is count / decimals
  bool point = false, digits = false;
  size_t i = 0;
  for (; i < text.size() && ((text[i] >= '0' && text[i] <= '9') || (text[i] == '.' && !point && digits));
       ++i) {
    if (text[i] == '.') {
      point = true;
      continue;
    }
    digits = true;
    const int64_t digit = text[i] - '0';
    if (count > (kMax - digit) / 10 || decimals > kMax / 10) return fail("too many digits");
    count = count * 10 + digit;
    if (point) decimals *= 10;
  }
  if (!digits) return fail("it begins with a number");
  int64_t multiplier = 1;
  if (i < text.size()) {
    if (text[i] == 'k') multiplier = 1'000;
    if (text[i] == 'M') multiplier = 1'000'000;
    if (text[i] == 'G') multiplier = 1'000'000'000;
    if (multiplier > 1) ++i;
  }
  if (i + 1 != text.size()) return fail(i == text.size() ? "say what it counts" : "unknown unit");
  Duration duration;
  if (text[i] == 'u') {
    duration.unit = Duration::Unit::updates;
  } else if (text[i] == 'e') {
    duration.unit = Duration::Unit::epochs;
  } else if (text[i] == 't') {
    duration.unit = Duration::Unit::tokens;
  } else {
    return fail("unknown unit");
  }
  const auto product = static_cast<__int128>(count) * multiplier;
  if (product % decimals != 0) return fail("it does not come out whole");
  if (product / decimals > kMax) return fail("too large");
  duration.count = static_cast<int64_t>(product / decimals);
  return duration;
}

std::string to_string(Duration duration) {
  constexpr std::array<char, 3> kUnits = {'u', 'e', 't'};
  const char unit = kUnits[static_cast<size_t>(duration.unit)];
  if (duration.count != 0 && duration.count % 1'000'000'000 == 0) {
    return fmt::format("{}G{}", duration.count / 1'000'000'000, unit);
  }
  if (duration.count != 0 && duration.count % 1'000'000 == 0) {
    return fmt::format("{}M{}", duration.count / 1'000'000, unit);
  }
  return fmt::format("{}{}", duration.count, unit);
}

}  // namespace chorus::inline config
