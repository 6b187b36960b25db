#include "detect/internal/letters.h"

#include <algorithm>

#include <unicode/uchar.h>

#include "base/utf8.h"

namespace chorus::inline detect {

std::string plain_text(std::string_view text) {
  constexpr size_t kMost = 64 << 10;
  std::string plain;
  plain.reserve(std::min(text.size(), kMost));
  for (size_t at = 0; at < text.size() && plain.size() < kMost;) {
    const size_t begin = at;
    const char32_t c = next_code_point(text, at);
    const bool ill = c == 0xFFFD || (c & 0xFFFE) == 0xFFFE || (c >= 0xFDD0 && c <= 0xFDEF);
    if (ill || u_charType(static_cast<UChar32>(c)) == U_CONTROL_CHAR)
      plain += ' ';
    else
      plain += text.substr(begin, at - begin);
  }
  return plain;
}

}  // namespace chorus::inline detect
