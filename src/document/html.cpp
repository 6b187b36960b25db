// HTML: which tags are of blocks, and what is not translated.
#include <algorithm>
#include <map>
#include <set>

#include "base/utf8.h"

#include "document/internal/formats.h"
#include "document/internal/markup.h"

namespace chorus::inline document {

namespace {

using Names = std::set<std::string_view>;

/// A segment does not go on behind a tag of these.
const Names kBlocks = {
    "address", "article",  "aside",      "base",   "blockquote", "body",   "br",      "button",   "caption",
    "center",  "col",      "colgroup",   "dd",     "details",    "dialog", "dir",     "div",      "dl",
    "dt",      "fieldset", "figcaption", "figure", "footer",     "form",   "frame",   "frameset", "h1",
    "h2",      "h3",       "h4",         "h5",     "h6",         "head",   "header",  "hgroup",   "hr",
    "html",    "legend",   "li",         "link",   "main",       "menu",   "meta",    "nav",      "noscript",
    "ol",      "optgroup", "option",     "p",      "pre",        "search", "section", "select",   "source",
    "summary", "table",    "tbody",      "td",     "tfoot",      "th",     "thead",   "title",    "tr",
    "track",   "ul"};
/// Of these, what does not begin a block of HTML in Markdown (CommonMark, 4.6).
const Names kNoMarkdownBlocks = {"br", "button", "hgroup", "meta", "noscript", "select", "source"};
const Names kVoid = {"area",  "base", "br",   "col",   "embed",  "frame", "hr", "img",
                     "input", "link", "meta", "param", "source", "track", "wbr"};
/// Their content is no markup.
const Names kRaw = {"script",   "style",    "xmp",   "iframe",   "noembed",
                    "noframes", "textarea", "title", "plaintext"};
/// Their content is not translated.
const Names kKept = {"pre",       "code",   "kbd",    "samp",   "var",     "svg",      "math",
                     "script",    "style",  "xmp",    "iframe", "noembed", "noframes", "textarea",
                     "plaintext", "object", "canvas", "audio",  "video",   "template"};
const Names kHidden = {"script", "style", "template", "noembed", "noframes"};

/// An element whose end tag may be left out: what such are in, and what ends it as it begins or ends.
struct Implied {
  Names inside, neighbours;
};
const Names kLists = {"ul", "ol", "menu", "dir"}, kRows = {"tr", "tbody", "thead", "tfoot"},
            kCells = {"td", "th", "tr", "tbody", "thead", "tfoot"};
Names ends_of_paragraph() {
  Names ends = kBlocks;
  ends.erase("br");
  return ends;
}
const std::map<std::string_view, Implied> kImplied = {
    {"p", {{}, ends_of_paragraph()}}, {"li", {kLists, {"li"}}},
    {"dt", {{"dl"}, {"dt", "dd"}}},   {"dd", {{"dl"}, {"dt", "dd"}}},
    {"td", {{"table"}, kCells}},      {"th", {{"table"}, kCells}},
    {"tr", {{"table"}, kRows}},       {"option", {{"select", "datalist"}, {"option", "optgroup"}}}};

void skip_implied(const MarkupToken& first, const Implied& implied, MarkupScanner& scanner) {
  for (size_t level = 0; !scanner.at_end();) {
    const MarkupScanner before = scanner;
    const MarkupToken token = scanner.next();
    if (token.kind != MarkupToken::Kind::tag) continue;
    const bool is_inside = implied.inside.contains(token.name);
    if (level == 0 && token.closing && token.name == first.name) return;
    if (level == 0 && (is_inside ? token.closing : implied.neighbours.contains(token.name))) {
      scanner = before;
      return;
    }
    if (is_inside) token.closing ? --level : ++level;
    if (!token.closing && kRaw.contains(token.name)) scanner.skip_to_closing(token.name);
  }
}

/// Goes behind the end of the element whose first tag has been read, or to the end.
void skip_element(const MarkupToken& first, MarkupScanner& scanner) {
  if (kVoid.contains(first.name) || (first.self_closing && !kRaw.contains(first.name))) return;
  if (const auto implied = kImplied.find(first.name); implied != kImplied.end())
    return skip_implied(first, implied->second, scanner);
  if (kRaw.contains(first.name)) scanner.skip_to_closing(first.name);
  for (size_t depth = 1; depth > 0 && !scanner.at_end();) {
    const MarkupToken token = scanner.next();
    if (token.kind != MarkupToken::Kind::tag) continue;
    if (token.name == first.name && !token.self_closing) token.closing ? --depth : ++depth;
    if (!token.closing && token.name != first.name && kRaw.contains(token.name))
      scanner.skip_to_closing(token.name);
  }
}

/// The end of the line that an empty one follows; of the text, where there is none.
size_t before_empty_line(std::string_view text) {
  for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n', end + 1)) {
    const size_t next = text.find_first_not_of(" \t\r", end + 1);
    if (next != text.npos && text[next] == '\n') return end;
  }
  return text.size();
}

}  // namespace

void build_markup(const MarkupToken& token, MarkupScanner& scanner, SegmentBuilder& builder) {
  const ByteRange range = token.bytes;
  if (token.kind != MarkupToken::Kind::tag) return builder.point(range, false);
  const bool is_block = kBlocks.contains(token.name);
  if (is_block) builder.cut();
  if (!token.closing && (token.kept || kKept.contains(token.name))) {
    skip_element(token, scanner);
    builder.point({range.begin, scanner.at()}, !kHidden.contains(token.name));
  } else if (is_block || kVoid.contains(token.name) || token.self_closing) {
    builder.point(range, token.name != "wbr");
  } else if (token.closing) {
    builder.close(range, token.name);
  } else {
    builder.open(range, token.name);
  }
  if (is_block) builder.cut();
  if (token.name == "title" && !token.closing) {  // text, but no markup
    const size_t begin = scanner.at();
    scanner.skip_to_closing(token.name);
    build_text(scanner.bytes().substr(begin, scanner.at() - begin), begin, builder);
    builder.cut();
  }
}

ByteRange page_language(std::string_view bytes) {
  for (MarkupScanner scanner(bytes); !scanner.at_end();) {
    const MarkupToken token = scanner.next();
    const std::string_view written = bytes.substr(token.bytes.begin, token.bytes.end - token.bytes.begin);
    if (token.kind == MarkupToken::Kind::text && !trim_space(written).empty()) break;  // of a segment
    if (token.kind != MarkupToken::Kind::tag) continue;
    if (token.name != "html" || token.language.empty()) break;
    const auto begin = static_cast<size_t>(token.language.data() - bytes.data());
    return {begin, begin + token.language.size()};
  }
  return {};
}

void scan_html(std::string_view bytes, SegmentBuilder& builder) {
  for (MarkupScanner scanner(bytes); !scanner.at_end();) {
    const MarkupToken token = scanner.next();
    if (token.kind == MarkupToken::Kind::text) {
      const ByteRange range = token.bytes;
      build_text(bytes.substr(range.begin, range.end - range.begin), range.begin, builder);
    } else {
      build_markup(token, scanner, builder);
    }
  }
}

bool begins_html_block(std::string_view line) {
  if (line.starts_with("<!") || line.starts_with("<?")) return true;
  MarkupScanner scanner(line);
  const MarkupToken token = scanner.next();
  return token.kind != MarkupToken::Kind::text && !kNoMarkdownBlocks.contains(token.name) &&
         (kBlocks.contains(token.name) || kRaw.contains(token.name));
}

size_t scan_html_block(std::string_view bytes, size_t begin, SegmentBuilder& builder) {
  MarkupScanner scanner(bytes, begin);
  if (bytes[begin + 1] == '!' || bytes[begin + 1] == '?') {
    static_cast<void>(scanner.next());
    bytes = bytes.substr(0, bytes.find('\n', scanner.at()));
    scanner = MarkupScanner(bytes, begin);
  }
  while (!scanner.at_end()) {
    const MarkupToken token = scanner.next();
    if (token.kind != MarkupToken::Kind::text) {
      build_markup(token, scanner, builder);
      continue;
    }
    const std::string_view text = bytes.substr(token.bytes.begin, token.bytes.end - token.bytes.begin);
    const size_t end = before_empty_line(text);
    build_text(text.substr(0, end), token.bytes.begin, builder);
    if (end < text.size()) return token.bytes.begin + end + 1;
  }
  return bytes.size();
}

}  // namespace chorus::inline document
