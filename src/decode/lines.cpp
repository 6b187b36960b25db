#include "decode/internal/lines.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include "base/utf8.h"
#include "decode/findings.h"

namespace chorus::inline decode {

std::string place(const LineReader& reader) {
  return fmt::format("{}:{}", reader.path().string(), reader.number());
}

std::string fault_of(const LineReader& reader) {
  if (!reader.over_long()) return "";
  return fmt::format("{}: a line of more than {} KiB: is this text, one sentence a line?", place(reader),
                     reader.text().size() >> 10);
}

std::string utf8_fault(std::string_view text, std::string_view where) {
  const size_t valid = valid_utf8_prefix(text);
  if (valid == text.size()) return "";
  return fmt::format("{}: byte {} (0x{:02x}) is not UTF-8", where, valid + 1,
                     static_cast<unsigned char>(text[valid]));
}

std::string as_utf8(std::string_view text) {
  std::string utf8;
  icu::UnicodeString::fromUTF8({text.data(), static_cast<int32_t>(text.size())}).toUTF8String(utf8);
  return utf8;
}

bool is_blank(std::string_view text) {
  constexpr std::u32string_view kPlaceholders = U"\u2581\u2800\uFFFC\uFFFD";
  constexpr uint32_t kNoText = U_GC_C_MASK & ~(U_GC_CN_MASK | U_GC_CO_MASK);
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const auto code = static_cast<UChar32>(c);
    const bool blank = is_file_space(c) || (U_GET_GC_MASK(code) & (kNoText | U_GC_M_MASK)) != 0 ||
                       u_hasBinaryProperty(code, UCHAR_DEFAULT_IGNORABLE_CODE_POINT) ||
                       u_hasBinaryProperty(code, UCHAR_NONCHARACTER_CODE_POINT) ||
                       kPlaceholders.find(c) != kPlaceholders.npos;
    if (!blank) return false;
  }
  return true;
}

int64_t first_word(std::string_view before) {
  int64_t words = 0;
  bool in_word = false;
  for (size_t at = 0; at < before.size();) {
    const bool space = is_file_space(next_code_point(before, at));
    if (!space && !in_word) ++words;
    in_word = !space;
  }
  return in_word ? words - 1 : words;
}

bool ends_in_loop(std::span<const int32_t> tokens) {
  constexpr size_t kTimes = 3, kLeast = 6;
  for (size_t period = 1; kTimes * period <= tokens.size(); ++period) {
    const auto end = tokens.last(std::min(tokens.size(), std::max(kTimes * period, kLeast)));
    if (end.size() >= kLeast &&
        std::equal(end.begin() + static_cast<std::ptrdiff_t>(period), end.end(), end.begin()))
      return true;
  }
  return false;
}

void Findings::add(std::string what) {
  constexpr size_t kShown = 3;
  ++count;
  if (first.size() < kShown) first.push_back(std::move(what));
}

std::string Findings::text() const {
  const int64_t more = count - std::ssize(first);
  return fmt::format("{}{}", fmt::join(first, "; "), more > 0 ? fmt::format("; and {} more", more) : "");
}

}  // namespace chorus::inline decode
