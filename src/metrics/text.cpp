#include "metrics/internal/text.h"

#include <limits>

#include <unicode/bytestream.h>
#include <unicode/casemap.h>

#include "base/error.h"
#include "base/utf8.h"

namespace chorus::inline metrics {

std::u32string_view strip_end(std::u32string_view text) {
  while (!text.empty() && is_python_space(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::u32string_view> split(std::u32string_view text) {
  std::vector<std::u32string_view> words;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_python_space(text[i])) continue;
    const size_t begin = i;
    while (i < text.size() && !is_python_space(text[i])) ++i;
    words.push_back(text.substr(begin, i - begin));
  }
  return words;
}

std::string lower(std::string_view utf8) {
  if (utf8.size() > std::numeric_limits<int32_t>::max())
    throw Error("a line of {} bytes is too long to be put into lower case", utf8.size());
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(utf8.size()));
  UErrorCode status = U_ZERO_ERROR;
  icu::CaseMap::utf8ToLower("", 0, icu::StringPiece(utf8.data(), static_cast<int32_t>(utf8.size())), sink,
                            nullptr, status);
  if (U_FAILURE(status)) throw Error("cannot put a line into lower case: {}", u_errorName(status));
  return result;
}

}  // namespace chorus::inline metrics
