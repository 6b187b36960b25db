// Plain text, and what all formats write text with.
#include <algorithm>

#include "base/utf8.h"

#include "document/internal/formats.h"
#include "document/internal/markdown.h"

namespace chorus::inline document {

namespace {

constexpr std::u32string_view kLineEnds = U"\n\r\v\f\u0085\u2028\u2029";

/// A line, or its white space and what is left of it.
void scan_line(std::string_view line, size_t begin, SegmentBuilder& builder) {
  const std::string_view text = trim_space(line);
  if (text.empty()) return;
  begin += text.data() - line.data();
  if (text.size() <= Document::kMostSegmentBytes) return builder.text({begin, begin + text.size()}, text);
  constexpr size_t kPiece = 1 << 10;  // of what has no spaces
  for (size_t at = 0; at < text.size();) {
    const size_t from = at;
    const bool space = text[at] == ' ';
    while (at < text.size() && (text[at] == ' ') == space && at < from + kPiece)
      static_cast<void>(next_code_point(text, at));
    const ByteRange bytes = {begin + from, begin + at};
    if (space)
      builder.space(bytes);
    else
      builder.text(bytes, text.substr(from, at - from));
  }
}

}  // namespace

void scan_text(std::string_view bytes, SegmentBuilder& builder) {
  size_t begin = 0;
  for (size_t at = 0; at < bytes.size();) {
    const size_t end = at;
    if (kLineEnds.find(next_code_point(bytes, at)) == std::u32string_view::npos) continue;
    scan_line(bytes.substr(begin, end - begin), begin, builder);
    builder.cut();
    begin = at;
  }
  scan_line(bytes.substr(begin), begin, builder);
}

std::string escaped(DocumentFormat format, std::string_view whole, ByteRange range) {
  if (format == DocumentFormat::markdown) return escape_markdown(whole, range);
  const std::string_view text = whole.substr(range.begin, range.end - range.begin);
  if (format == DocumentFormat::text || format == DocumentFormat::srt) return std::string(text);
  std::string written;
  written.reserve(text.size());
  for (const char c : text) {
    switch (c) {
      case '&':
        written += "&amp;";
        break;
      case '<':
        written += "&lt;";
        break;
      case '>':
        written += "&gt;";
        break;
      default:
        written += c;
    }
  }
  return written;
}

}  // namespace chorus::inline document
