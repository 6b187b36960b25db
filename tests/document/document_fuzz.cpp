// Documents made to hurt: whatever the bytes, they come out as they went in where the translation is the text, and with
// all markup where it is not. The first byte chooses the format and the links.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/utf8.h"
#include "document/document.h"

#include "document/internal/markup.h"

namespace {

using namespace chorus;

/// Words in the other order.
std::string reversed(std::string_view text) {
  std::string words;
  for (size_t end = text.size(); end > 0;) {
    const size_t space = text.substr(0, end).rfind(' ');
    const size_t begin = space == text.npos ? 0 : space + 1;
    words += std::string(words.empty() ? "" : " ") + std::string(text.substr(begin, end - begin));
    end = begin == 0 ? 0 : begin - 1;
  }
  return words;
}

/// Tags, comments, ...
std::vector<std::string> markup_of(const std::string& bytes) {
  std::vector<std::string> markup;
  for (MarkupScanner scanner(bytes); !scanner.at_end();) {
    const MarkupToken token = scanner.next();
    if (token.kind == MarkupToken::Kind::text) continue;
    markup.push_back(bytes.substr(token.bytes.begin, token.bytes.end - token.bytes.begin));
    for (const char* const raw :
         {"script", "style", "xmp", "iframe", "noembed", "noframes", "textarea", "title", "plaintext"})
      if (token.name == raw && !token.closing) scanner.skip_to_closing(raw);
  }
  std::ranges::sort(markup);
  return markup;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const auto formats = document_formats();
  const auto format = formats[data[0] % formats.size()].second;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  try {
    // A page that says its language says another then, and its markup is not what it was.
    const bool in_languages = format != DocumentFormat::html || (data[0] & 0x40) != 0;
    const Document document(format, bytes,
                            in_languages ? DocumentLanguages{"en", "de"} : DocumentLanguages{});
    std::vector<TranslatedSegment> same, other;
    size_t size_of_texts = 0;
    for (const std::string& text : document.segments()) {
      if (text.empty() || text != trim_space(text) || !is_valid_utf8(text)) std::abort();
      size_of_texts += text.size();
      same.push_back({text});
      other.push_back({reversed(text)});
      for (int64_t i = 0; data[0] >= 0x80 && i < 64; ++i)
        other.back().links.emplace_back((i * data[0]) % 61, i);
    }
    if (size_of_texts > bytes.size()) std::abort();  // no byte is of two segments
    if (format != DocumentFormat::tmx && document.write(same) != bytes) std::abort();
    const std::string written = document.write(other);
    if (!is_valid_utf8(written)) std::abort();
    if (format == DocumentFormat::html && !in_languages && markup_of(written) != markup_of(bytes))
      std::abort();
  } catch (const UserError&) {
    if (is_valid_utf8(bytes)) std::abort();
  }
  return 0;
}
