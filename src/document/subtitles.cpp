// Subtitles: SubRip (srt) and WebVTT. A cue is a line with "-->" and the lines of text behind it, up to an empty one.
#include <algorithm>

#include "base/utf8.h"

#include "document/internal/formats.h"
#include "document/internal/markup.h"

namespace chorus::inline document {

namespace {

/// Who speaks begins a line of a dialogue with a dash: where the words begin, 0 without one.
size_t behind_dashes(std::string_view line) {
  size_t at = 0;
  for (size_t next = 0; next < line.size(); at = next) {
    const char32_t c = next_code_point(line, next);
    const bool dash = c == U'-' || c == U'\u2013' || c == U'\u2014';
    if (!dash && (c != U' ' || at == 0)) break;
  }
  return at;
}

/// Text without tags, "{\an8}" (a place on the screen) apart.
void scan_words(std::string_view text, size_t begin, bool references, SegmentBuilder& builder) {
  for (size_t at = 0; at < text.size();) {
    size_t brace = std::min(text.find("{\\", at), text.size());
    const size_t end = std::min(text.find('}', brace), text.size());
    if (end == text.size()) brace = end;  // not closed: text
    build_text(text.substr(at, brace - at), begin + at, builder, references);
    at = brace == text.size() ? brace : end + 1;
    if (brace < text.size()) builder.point({begin + brace, begin + at}, false);
  }
}

/// The bytes of a time in a cue of WebVTT, "<00:00:01.120>"; 0: there is none.
size_t time_tag(std::string_view text) {
  const size_t end = text.find_first_not_of("0123456789:.", 1);
  return end != text.npos && text[end] == '>' && text.find(':') < end ? end + 1 : 0;
}

/// Text between tags, which may hold times.
void scan_timed_words(std::string_view text, size_t begin, SegmentBuilder& builder) {
  size_t from = 0;
  for (size_t at = text.find('<'); at != text.npos; at = text.find('<', at + 1)) {
    const size_t bytes = time_tag(text.substr(at));
    if (bytes == 0) continue;
    scan_words(text.substr(from, at - from), begin + from, true, builder);
    from = at + bytes;
    builder.point({begin + at, begin + from}, false);
  }
  scan_words(text.substr(from), begin + from, true, builder);
}

void scan_cue_line(std::string_view line, size_t begin, bool references, SegmentBuilder& builder) {
  if (const size_t words = behind_dashes(line); words > 0) {
    builder.cut();
    builder.point({begin, begin + words}, false);
    begin += words;
    line.remove_prefix(words);
  }
  for (MarkupScanner scanner(line); !scanner.at_end();) {
    const MarkupToken token = scanner.next();
    const ByteRange bytes = {begin + token.bytes.begin, begin + token.bytes.end};
    if (token.kind == MarkupToken::Kind::text) {
      const std::string_view text = line.substr(token.bytes.begin, token.bytes.end - token.bytes.begin);
      references ? scan_timed_words(text, bytes.begin, builder)
                 : scan_words(text, bytes.begin, false, builder);
    } else if (token.kind != MarkupToken::Kind::tag || token.self_closing) {
      builder.point(bytes, false);
    } else if (token.closing) {
      builder.close(bytes, token.name);
    } else {
      builder.open(bytes, token.name.substr(0, token.name.find('.')));  // of a class: <c.yellow> ... </c>
    }
  }
}

/// "00:00:01,000 --> 00:00:02,000", "00:01.000 --> 00:02.000 line:0": an arrow behind a time.
bool is_time_line(std::string_view line) {
  const size_t arrow = line.find("-->");
  if (arrow == line.npos) return false;
  const std::string_view time = trim_space(line.substr(0, arrow));
  return !time.empty() && time.find_first_not_of("0123456789:.,") == time.npos;
}

}  // namespace

void scan_subtitles(std::string_view bytes, bool references, SegmentBuilder& builder) {
  bool in_cue = false;
  for (size_t at = 0; at < bytes.size();) {
    const size_t begin = at, newline = std::min(bytes.find('\n', at), bytes.size());
    at = std::min(newline + 1, bytes.size());
    size_t end = newline;
    if (end > begin && bytes[end - 1] == '\r') --end;
    const std::string_view line = bytes.substr(begin, end - begin);
    const bool is_time = is_time_line(line);
    // SubRip's players take a cue's number without an empty line before it.
    const bool is_number = !references && !line.empty() &&
                           line.find_first_not_of("0123456789") == line.npos &&
                           is_time_line(bytes.substr(at, bytes.find('\n', at) - at));
    if (is_time || is_number || trim_space(line).empty()) {
      builder.cut();
      in_cue = is_time;
    } else if (in_cue) {
      scan_cue_line(line, begin, references, builder);
      builder.line_end({end, at});
    }
  }
}

}  // namespace chorus::inline document
