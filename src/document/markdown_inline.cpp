#include <algorithm>
#include <array>
#include <set>

#include <unicode/uchar.h>

#include "base/utf8.h"

#include "document/internal/formats.h"
#include "document/internal/markdown.h"
#include "document/internal/markup.h"

namespace chorus::inline document {

namespace {

constexpr auto kNotThere = std::string_view::npos;
constexpr std::string_view kPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

bool is_white(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/// One block.
class InlineScanner {
 public:
  InlineScanner(std::string_view text, const LinkLabels& labels, SegmentBuilder& builder)
      : text_(text), labels_(labels), builder_(builder) {}

  /// Scans from `begin`, or behind markup that has ended later, to `end`. False where markup goes on beyond.
  bool scan_line(size_t begin, size_t end) {
    size_t at = given_ = std::max(begin, given_);
    while (at < end) {
      const size_t next = scan_markup(at);
      at = next == at ? at + 1 : next;
    }
    give_text(std::min(at, end));
    given_ = std::max(given_, at);
    return at == end;
  }

 private:
  struct Opened {
    std::string name;
    size_t at = 0;
  };

  void give_text(size_t end) {
    if (given_ < end) build_text(text_.substr(given_, end - given_), given_, builder_);
    given_ = std::max(given_, end);
  }
  /// Gives the text before markup from `begin` to `end`, and returns its bytes, for the caller to give.
  ByteRange markup(size_t begin, size_t end) {
    give_text(begin);
    given_ = end;
    return {begin, end};
  }
  size_t give_point(size_t begin, size_t end) {
    builder_.point(markup(begin, end), true);
    return end;
  }

  size_t open(size_t begin, size_t end) {
    const std::string_view name = text_.substr(begin, end - begin);
    builder_.open(markup(begin, end), name);
    if (open_.size() < SegmentBuilder::kDeepest) open_.push_back({std::string(name), begin});
    return end;
  }

  /// Gives the markup at `at`, and the text before it; where it ends, or `at` if there is none.
  size_t scan_markup(size_t at) {
    switch (text_[at]) {
      case '\\':
        return scan_escape(at);
      case '`':
        return scan_code(at);
      case '$':
        return scan_formula(at);
      case '!':
        return scan_image(at);
      case '[':
        return scan_bracket(at);
      case ']':
        return scan_link_end(at);
      case '*':
      case '_':
      case '~':
        return scan_emphasis(at);
      case '<':
        return scan_tag(at);
      default:
        return at;
    }
  }

  size_t scan_escape(size_t at) {
    if (at + 1 >= text_.size() || kPunctuation.find(text_[at + 1]) == kNotThere) return at;
    builder_.text(markup(at, at + 2), text_.substr(at + 1, 1));
    return at + 2;
  }

  size_t scan_code(size_t at) {
    const size_t begin = std::min(text_.find_first_not_of('`', at), text_.size()), length = begin - at;
    for (size_t end = begin; !no_code_.contains(length);) {
      end = text_.find('`', end);
      if (end == kNotThere) break;
      const size_t behind = std::min(text_.find_first_not_of('`', end), text_.size());
      if (behind - end == length) return give_point(at, behind);
      end = behind;
    }
    no_code_.insert(length);
    give_text(begin);
    return begin;
  }

  /// "$x$" and "$$x$$", told from sums of money and variables: what is inside touches both ends, and no word touches
  /// them from outside.
  size_t scan_formula(size_t at) {
    const bool wide = text_.substr(at).starts_with("$$");
    const size_t begin = at + (wide ? 2 : 1);
    const bool opens = begin < text_.size() && (wide || !is_white(text_[begin])) &&
                       (at == 0 || !is_inside_word(text_[at - 1]));
    for (size_t end = begin; opens && !no_formula_[wide]; ++end) {
      end = text_.find(wide ? "$$" : "$", end);
      no_formula_[wide] = end == kNotThere;
      if (end == kNotThere) break;
      const size_t behind = end + (wide ? 2 : 1);
      const bool closes =
          wide || (!is_white(text_[end - 1]) && (behind == text_.size() || !is_inside_word(text_[behind])));
      if (closes && end > begin && text_[end - 1] != '\\') return give_point(at, behind);
    }
    give_text(begin);
    return begin;
  }

  /// Returns the place behind what may follow the "]" of a link: "(URL)", "[reference]"; or at it.
  [[nodiscard]] size_t behind_target(size_t at) const {
    size_t end = kNotThere;
    if (at < text_.size() && text_[at] == '(') end = behind_bracket(text_, at, '(', ')');
    if (at < text_.size() && text_[at] == '[') end = behind_bracket(text_, at, '[', ']');
    return end == kNotThere ? at : end;
  }

  /// Returns where the document defines the link whose text is between these bytes; empty: nowhere.
  [[nodiscard]] ByteRange definition(size_t begin, size_t end) const {
    constexpr size_t kLongest = 1000;  // more is no label
    if (labels_.empty() || end - begin > kLongest) return {};
    const auto defined = labels_.find(plain_label(text_.substr(begin, end - begin)));
    return defined == labels_.end() ? ByteRange{} : defined->second;
  }

  size_t scan_image(size_t at) {
    if (at + 1 >= text_.size() || text_[at + 1] != '[') return at;
    const size_t end = behind_bracket(text_, at + 1, '[', ']');
    if (end == kNotThere || (behind_target(end) == end && definition(at + 2, end - 1).end == 0)) return at;
    return give_point(at, behind_target(end));
  }

  size_t scan_bracket(size_t at) {
    const size_t end = behind_bracket(text_, at, '[', ']');
    if (end == kNotThere) return at;
    if (text_[at + 1] == '^') return give_point(at, end);  // a footnote
    return open(at, at + 1);
  }

  size_t scan_link_end(size_t at) {
    const auto opened = std::ranges::find(open_.rbegin(), open_.rend(), "[", &Opened::name);
    if (opened == open_.rend()) return at;
    const size_t begin = opened->at + 1, end = behind_target(at + 1);
    open_.erase(opened.base() - 1, open_.end());
    const std::string_view target = text_.substr(at + 1, end - at - 1);
    const bool by_text = target.empty() || target == "[]";
    builder_.close(markup(at, end), "[", by_text ? definition(begin, at) : ByteRange{});
    return end;
  }

  size_t scan_emphasis(size_t at) {
    const char c = text_[at];
    const size_t end = std::min(text_.find_first_not_of(c, at), text_.size()), length = end - at;
    const char before = at == 0 ? ' ' : text_[at - 1], after = end == text_.size() ? ' ' : text_[end];
    const bool in_word = c == '_' && is_inside_word(before) && is_inside_word(after);
    const auto opened =
        std::find_if(open_.rbegin(), open_.rend(), [&](const Opened& open) { return open.name[0] == c; });
    if (!in_word && !is_white(before) && opened != open_.rend() && opened->name.size() <= length) {
      const std::string name = opened->name;
      open_.erase(opened.base() - 1, open_.end());
      builder_.close(markup(at, at + name.size()), name);
      return at + name.size();
    }
    if (in_word || is_white(after) || length > 3 || (c == '~' && length != 2)) {
      give_text(end);
      return end;
    }
    if (length < 3) return open(at, end);
    for (size_t one = at; one < end; ++one) open(one, one + 1);  // what ends first is not known yet
    return end;
  }

  size_t scan_tag(size_t at) {
    const size_t stop = text_.find_first_of(" \t\n<>", at + 1);
    if (stop != kNotThere && text_[stop] == '>' &&
        text_.substr(at, stop - at).find_first_of(":@") != kNotThere)
      return give_point(at, stop + 1);  // <https://...>
    if (no_tags_ || !begins_markup(text_.substr(at + 1))) return at;
    MarkupScanner scanner(text_, at);
    const MarkupToken token = scanner.next();
    no_tags_ = token.kind == MarkupToken::Kind::broken;
    if (no_tags_) return at;
    markup(at, token.bytes.end);
    build_markup(token, scanner, builder_);
    return given_ = scanner.at();
  }

  std::string_view text_;  // the document to the end of the block
  const LinkLabels& labels_;
  SegmentBuilder& builder_;
  size_t given_ = 0;                  // to the builder
  std::vector<Opened> open_;          // emphasis and links
  std::set<size_t> no_code_;          // lengths of backticks that do not come again
  bool no_tags_ = false;              // no tag ends in what is left
  std::array<bool, 2> no_formula_{};  // nor a formula between "$", between "$$"
};

}  // namespace

size_t behind_bracket(std::string_view text, size_t at, char open, char close) {
  constexpr size_t kFarthest = 2048;
  const size_t end = std::min(text.size(), at + kFarthest);
  for (int depth = 0; at < end; ++at) {
    if (text[at] == '\\') {
      ++at;
    } else if (open == '(' && (text[at] == '"' || text[at] == '\'') && is_white(text[at - 1])) {  // a title
      const size_t quote = text.substr(0, end).find(text[at], at + 1);
      if (quote != kNotThere) at = quote;
    } else if (text[at] == open) {
      ++depth;
    } else if (text[at] == close && --depth == 0) {
      return at + 1;
    }
  }
  return kNotThere;
}

std::string plain_label(std::string_view label) {
  std::string plain;
  for (size_t at = 0; at < label.size();) {
    const char32_t c = next_code_point(label, at);
    if (!is_file_space(c)) {
      append_utf8(plain, static_cast<char32_t>(u_foldCase(static_cast<UChar32>(c), U_FOLD_CASE_DEFAULT)));
      continue;
    }
    // A line may begin with marks of quotes.
    if (c == U'\n') at = std::min(label.find_first_not_of(" \t>", at), label.size());
    if (!plain.ends_with(' ')) plain += ' ';
  }
  return std::string(trim_space(plain));
}

void scan_inline(std::string_view bytes, const std::vector<ByteRange>& lines, const LinkLabels& labels,
                 SegmentBuilder& builder) {
  if (lines.empty()) return;
  InlineScanner scanner(bytes.substr(0, lines.back().end), labels, builder);
  for (size_t i = 0; i < lines.size(); ++i)
    if (scanner.scan_line(lines[i].begin, lines[i].end) && i + 1 < lines.size())
      builder.space({lines[i].end, lines[i + 1].begin});
}

void escape_line_begin(std::string& written, size_t begin) {
  const std::string_view line = std::string_view(written).substr(begin);
  if (line.empty()) return;
  const char c = line[0];
  const size_t run = std::min(line.find_first_not_of(c), line.size());
  const size_t digits = std::min(line.find_first_not_of("0123456789"), line.size());
  const auto ends_at = [&](size_t at) { return at == line.size() || line[at] == ' ' || line[at] == '\t'; };
  const bool is_rule = line.find_first_not_of(c == '=' ? "=" : "- ") == kNotThere;
  if (c == '>' || (c == '#' && run <= 6 && ends_at(run)) || ((c == '+' || c == '-') && ends_at(1)) ||
      ((c == '-' || c == '=') && is_rule) || (c == '~' && run >= 3))
    written.insert(begin, 1, '\\');
  else if (digits > 0 && digits <= 9 && digits < line.size() &&
           (line[digits] == '.' || line[digits] == ')') && ends_at(digits + 1))
    written.insert(begin + digits, 1, '\\');
}

std::string escape_markdown(std::string_view text, ByteRange range) {
  std::string written;
  written.reserve(range.end - range.begin);
  for (size_t i = range.begin; i < range.end; ++i) {
    const char c = text[i];
    const bool in_word =
        i > 0 && i + 1 < text.size() && is_inside_word(text[i - 1]) && is_inside_word(text[i + 1]);
    const bool marks = std::string_view("\\`*[]<|").find(c) != kNotThere || (c == '_' && !in_word) ||
                       (c == '~' && i + 1 < text.size() && text[i + 1] == '~') ||
                       (c == '&' && read_reference(text.substr(i)).has_value());
    if (marks) written += '\\';
    written += c;
  }
  return written;
}

}  // namespace chorus::inline document
