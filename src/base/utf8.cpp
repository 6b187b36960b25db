#include "base/utf8.h"

#include <algorithm>

#include <unicode/uchar.h>
#include <unicode/utf8.h>

namespace chorus::inline base {
namespace {

bool is_white_space(char32_t c) {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');  // ICU's table takes thrice the time
  return u_isUWhiteSpace(static_cast<UChar32>(c)) != 0;
}

}  // namespace

size_t valid_utf8_prefix(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t begin = i;
    UChar32 c = 0;
    U8_NEXT(text.data(), i, text.size(), c);
    if (c < 0) return begin;
  }
  return text.size();
}

char32_t next_code_point(std::string_view text, size_t& position) {
  const size_t begin = position;
  UChar32 c = 0;
  U8_NEXT(text.data(), position, text.size(), c);
  if (c >= 0) return static_cast<char32_t>(c);
  position = begin + 1;
  return U'\uFFFD';
}

size_t count_code_points(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char byte) { return !U8_IS_TRAIL(byte); }));
}

void append_utf8(std::string& text, char32_t code_point) {
  char bytes[U8_MAX_LENGTH];
  size_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, code_point);
  text.append(bytes, length);
}

std::u32string to_utf32(std::string_view utf8) {
  std::u32string text;
  text.reserve(utf8.size());
  for (size_t i = 0; i < utf8.size();) {
    UChar32 c = 0;
    U8_NEXT_OR_FFFD(utf8.data(), i, utf8.size(), c);
    text.push_back(static_cast<char32_t>(c));
  }
  return text;
}

std::string to_utf8(std::u32string_view text) {
  std::string utf8;
  utf8.reserve(text.size());
  for (const char32_t c : text) append_utf8(utf8, c);
  return utf8;
}

bool is_file_space(char32_t c) {
  return is_white_space(c) || c == U'\u200B' || c == U'\uFEFF';
}

bool is_python_space(char32_t c) {
  return is_white_space(c) || (c >= 0x1C && c <= 0x1F);
}

std::string_view trim_space(std::string_view text) {
  while (!text.empty()) {
    size_t length = 0;
    if (!is_file_space(next_code_point(text, length))) break;
    text.remove_prefix(length);
  }
  while (!text.empty()) {
    const std::string_view tail = text.substr(text.size() - std::min<size_t>(text.size(), U8_MAX_LENGTH));
    auto begin = static_cast<int32_t>(tail.size());
    UChar32 c = 0;
    U8_PREV(tail.data(), 0, begin, c);
    if (c < 0 || !is_file_space(static_cast<char32_t>(c))) break;
    text.remove_suffix(tail.size() - static_cast<size_t>(begin));
  }
  return text;
}

}  // namespace chorus::inline base
