// UTF-8: is it valid, what is in it, where may it be cut.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace chorus::inline base {

/// How many bytes at the start of `text` are well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no
/// overlong forms, nothing above U+10FFFF). Equal to text.size() when all of it is.
size_t valid_utf8_prefix(std::string_view text);

inline bool is_valid_utf8(std::string_view text) {
  return valid_utf8_prefix(text) == text.size();
}

/// The code point at `position` (< text.size()), and moves `position` behind it. An ill-formed byte gives
/// U+FFFD and moves by one, so a loop over any bytes ends.
char32_t next_code_point(std::string_view text, size_t& position);

/// Code points in well-formed text.
size_t count_code_points(std::string_view text);

void append_utf8(std::string& text, char32_t code_point);

/// Decodes as Python's bytes.decode(errors="replace") does: what begins a character and does not end it gives one
/// U+FFFD, however many bytes it has (next_code_point gives one for each).
std::u32string to_utf32(std::string_view utf8);
std::string to_utf8(std::u32string_view text);

/// White_Space of Unicode 15, and the two invisible ones that files come with: U+200B and U+FEFF.
bool is_file_space(char32_t code_point);

/// What Python's str.isspace() says: White_Space of Unicode 15 and U+001C to U+001F.
bool is_python_space(char32_t code_point);

/// Without is_file_space() at either end.
std::string_view trim_space(std::string_view text);

}  // namespace chorus::inline base
