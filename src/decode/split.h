// Long text in parts.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace chorus {

struct TextPart {
  std::string_view text;  // trimmed, not empty
  bool space = false;     // white space stood between this part and the one before
};

/// Halves well-formed UTF-8 until every part fits, preferably between sentences, else between words. A single
/// character is a part even if it does not fit.
std::vector<TextPart> split_text(std::string_view text, const std::function<bool(std::string_view)>& fits);

}  // namespace chorus
