// Markdown (CommonMark, and tables, task lists, footnotes and strikethrough as GitHub has them). Blocks are told line
// by line, more coarsely than CommonMark does: what may be code stays.
#include "document/internal/markdown.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/utf8.h"

#include "document/internal/formats.h"
#include "document/internal/markup.h"

namespace chorus::inline document {

namespace {

constexpr auto kMissing = std::string_view::npos;
constexpr std::string_view kFormula = "$$";

bool is_gap(char c) {
  return c == ' ' || c == '\t';
}

/// "-", "2." with a space or nothing behind it: its length; 0: it is none.
size_t list_marker(std::string_view line) {
  size_t end = 0;
  while (end < std::min<size_t>(line.size(), 9) && line[end] >= '0' && line[end] <= '9') ++end;
  const bool marks =
      end < line.size() &&
      (end == 0 ? std::string_view("-*+") : std::string_view(".)")).find(line[end]) != kMissing;
  return marks && (end + 1 == line.size() || is_gap(line[end + 1])) ? end + 1 : 0;
}

/// Whether the line is nothing but these characters, `least` or more of the first kind that is there.
bool is_rule(std::string_view line, std::string_view characters, size_t least) {
  if (line.empty() || characters.find(line[0]) == kMissing) return false;
  const auto count = static_cast<size_t>(std::ranges::count(line, line[0]));
  return count >= least && std::ranges::all_of(line, [&](char c) { return c == line[0] || is_gap(c); });
}

/// A line behind the marks of what it is in, and the columns before its text. Tabs end at columns 4, 8, ...
class Margin {
 public:
  Margin(std::string_view bytes, size_t begin, size_t end) : bytes_(bytes.substr(0, end)), at_(begin) {
    go_to_text();
  }
  [[nodiscard]] size_t at() const { return at_; }  // the text
  [[nodiscard]] std::string_view text() const { return bytes_.substr(at_); }
  [[nodiscard]] size_t indent() const { return text_column_ - column_; }
  void take_indent(size_t columns) { column_ += std::min(columns, indent()); }
  void take_text(size_t bytes) {
    at_ += bytes;
    column_ = text_column_ += bytes;
    go_to_text();
  }
  void take_quote() {
    take_text(1);
    take_indent(1);
  }

 private:
  void go_to_text() {
    for (; at_ < bytes_.size() && is_gap(bytes_[at_]); ++at_)
      text_column_ = bytes_[at_] == '\t' ? text_column_ / 4 * 4 + 4 : text_column_ + 1;
  }

  std::string_view bytes_;
  size_t at_, column_ = 0, text_column_ = 0;
};

/// What begins a fence of code, or of a formula; empty: the line is none, as "```a``` b" is not.
std::string_view fence_of(std::string_view line) {
  if (trim_space(line) == kFormula) return line.substr(0, kFormula.size());
  if (!line.starts_with("```") && !line.starts_with("~~~")) return {};
  const size_t length = std::min(line.find_first_not_of(line[0]), line.size());
  if (line[0] == '`' && line.find('`', length) != kMissing) return {};
  return line.substr(0, length);
}

/// The cells of a row of a table, as it is written: from "|" to "|", of which a row may lack the first and last.
std::vector<ByteRange> cells_of(std::string_view row) {
  std::vector<ByteRange> cells;
  size_t cell = row.starts_with('|') ? 1 : 0;
  for (size_t at = cell; at < row.size(); ++at) {
    if (row[at] == '\\') {
      ++at;
    } else if (row[at] == '|') {
      cells.push_back({cell, at});
      cell = at + 1;
    }
  }
  if (cell < row.size()) cells.push_back({cell, row.size()});
  return cells;
}

/// Whether the line is what is below the head of a table: "--- | :-:".
bool is_delimiter_row(std::string_view line) {
  return line.find('|') != kMissing && line.find_first_not_of("|-: \t") == kMissing &&
         std::ranges::all_of(cells_of(line), [&](ByteRange cell) {
           std::string_view dashes = trim_space(line.substr(cell.begin, cell.end - cell.begin));
           if (dashes.starts_with(':')) dashes.remove_prefix(1);
           if (dashes.ends_with(':')) dashes.remove_suffix(1);
           return !dashes.empty() && dashes.find_first_not_of('-') == kMissing;
         });
}

/// An address, and nothing but a title behind it.
bool is_address(std::string_view text) {
  size_t end = text.starts_with('<') ? text.find('>') : text.find_first_of(" \t");
  if (end == kMissing) return !text.starts_with('<');
  end = text.find_first_not_of(" \t", text[end] == '>' ? end + 1 : end);
  return end == kMissing || std::string_view("\"'(").find(text[end]) != kMissing;
}

/// "[!NOTE]", by which GitHub and others tell a quote that is a box.
bool is_alert(std::string_view text) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  return text.size() > 3 && text.starts_with("[!") &&
         text.find_first_not_of(kLetters, 2) == text.size() - 1 && text.ends_with(']');
}

class MarkdownScanner {
 public:
  MarkdownScanner(std::string_view bytes, SegmentBuilder& builder) : bytes_(bytes), builder_(builder) {}

  /// Returns what the document defines, and nothing else; the builder gets what is of no use.
  LinkLabels find_labels() {
    finds_labels_ = true;
    scan();
    return std::move(labels_);
  }
  void scan(LinkLabels labels) {
    labels_ = std::move(labels);
    scan();
  }

 private:
  static constexpr size_t kQuote = 0;  // in containers_

  void scan() {
    at_ = front_matter_end();
    while (at_ < bytes_.size()) {
      const size_t begin = at_, newline = std::min(bytes_.find('\n', at_), bytes_.size());
      at_ = std::min(newline + 1, bytes_.size());
      size_t end = newline;
      while (end > begin && (is_gap(bytes_[end - 1]) || bytes_[end - 1] == '\r')) --end;
      scan_line(begin, end, newline - end >= 2 && is_gap(bytes_[end]) && is_gap(bytes_[end + 1]));
    }
    end_block();
  }

  /// Returns the end of settings at the beginning, between lines "---" (YAML) or "+++" (TOML).
  [[nodiscard]] size_t front_matter_end() const {
    constexpr std::string_view kMark = "\xEF\xBB\xBF";  // that some editors begin a file with
    const size_t begin = bytes_.starts_with(kMark) ? kMark.size() : 0;
    const std::string_view rest = bytes_.substr(begin);
    for (const std::string line : {"---", "+++"}) {
      if (!rest.starts_with(line + "\n") && !rest.starts_with(line + "\r\n")) continue;
      size_t at = bytes_.find('\n', begin);
      for (bool first = true; at < bytes_.size(); first = false) {
        const size_t next = std::min(bytes_.find('\n', at + 1), bytes_.size());
        const std::string_view text = trim_space(bytes_.substr(at + 1, next - at - 1));
        if (first && text.empty()) return begin;  // a rule
        if (text == line) return next;
        at = next;
      }
    }
    return begin;
  }

  /// Makes a segment. `at_line_begin`: nothing but marks of quotes and lists is before.
  void give(const std::vector<ByteRange>& lines, bool at_line_begin) {
    if (lines.empty() || finds_labels_) return;
    if (at_line_begin) builder_.begin_line(lines.front().begin);
    scan_inline(bytes_, lines, labels_, builder_);
    builder_.cut();
  }
  void cut_block() {
    give(block_, true);
    block_.clear();
  }
  void end_block() {
    cut_block();
    in_paragraph_ = false;
  }
  void add_block(size_t begin, size_t end, bool at_line_begin) {
    end_block();
    while (begin < end && is_gap(bytes_[begin])) ++begin;
    while (end > begin && is_gap(bytes_[end - 1])) --end;
    if (begin < end) give({{begin, end}}, at_line_begin);
  }

  [[nodiscard]] std::string_view line(size_t begin, size_t end) const {
    return bytes_.substr(begin, end - begin);
  }

  /// How many of the quotes and list items the line is in, whose marks it takes.
  size_t continued(Margin& margin) const {
    size_t count = 0;
    for (; count < containers_.size(); ++count) {
      const size_t width = containers_[count];
      if (width == kQuote) {
        if (!margin.text().starts_with('>')) break;
        margin.take_quote();
      } else if (!margin.text().empty()) {
        if (margin.indent() < width) break;
        margin.take_indent(width);
      }
    }
    return count;
  }

  /// Takes marks of quotes and list items that begin, in `kept` of those before; a block ends there. Whether there are
  /// any. What is deeper than anybody writes is text.
  bool begin_containers(Margin& margin, size_t kept) {
    bool begun = false;
    while (!margin.text().empty() && !is_code(margin)) {
      const std::string_view text = margin.text();
      const bool quote = text[0] == '>';
      const size_t marker = quote || is_rule(text, "-*_", 3) ? 0 : list_marker(text);
      if (!quote && marker == 0) break;
      // An item without text does not interrupt a paragraph.
      if (marker == text.size() && in_paragraph_ && kept == containers_.size()) break;
      if (!std::exchange(begun, true)) {
        end_block();
        containers_.resize(kept);
      }
      const bool deepest = containers_.size() == SegmentBuilder::kDeepest;
      if (quote) {
        margin.take_quote();
        if (!deepest) containers_.push_back(kQuote);
        continue;
      }
      if (deepest) break;
      const size_t before = margin.indent();
      margin.take_text(marker);
      const size_t behind = margin.text().empty() || margin.indent() > 4 ? 1 : margin.indent();
      margin.take_indent(behind);
      containers_.push_back(before + marker + behind);
      const std::string_view item = margin.text();
      if (item.starts_with("[ ] ") || item.starts_with("[x] ") || item.starts_with("[X] ")) {
        margin.take_text(3);
        margin.take_indent(margin.indent());
        break;
      }
    }
    return begun;
  }

  [[nodiscard]] bool is_code(const Margin& margin) const { return !in_paragraph_ && margin.indent() >= 4; }

  void scan_table_row(size_t begin, size_t end) {
    for (const ByteRange cell : cells_of(line(begin, end)))
      add_block(begin + cell.begin, begin + cell.end, cell.begin == 0);
  }

  /// Whether the line is the head of a table: the next has dashes below each of its cells.
  [[nodiscard]] bool is_table_head(std::string_view line) const {
    const std::string_view next = bytes_.substr(at_, bytes_.find('\n', at_) - at_);
    const size_t begin = std::min(next.find_first_not_of(" \t>"), next.size());
    const std::string_view below = trim_space(next.substr(begin));
    return is_delimiter_row(below) && cells_of(below).size() == cells_of(line).size();
  }

  /// A line behind the beginning of a fence. False where it is not in the fence's quote, with which the fence ends.
  bool scan_code_line(std::string_view line) {
    size_t at = std::min(line.find_first_not_of(" \t"), line.size());
    for (size_t quotes = 0; quotes < fence_quotes_; ++quotes) {
      if (at == line.size() || line[at] != '>') {
        fence_ = {};
        return false;
      }
      at = std::min(line.find_first_not_of(" \t", at + 1), line.size());
    }
    const std::string_view rest = line.substr(at);
    if (rest.starts_with(fence_) && is_rule(rest, fence_.substr(0, 1), fence_.size())) fence_ = {};
    return true;
  }

  void scan_line(size_t begin, size_t end, bool hard_break) {
    if (!fence_.empty() && scan_code_line(line(begin, end))) return;
    Margin margin(bytes_, begin, end);
    const size_t kept = continued(margin);
    const bool begun = !margin.text().empty() && begin_containers(margin, kept);
    const bool is_row = std::exchange(in_table_, false) && !begun && kept == containers_.size();
    if (margin.text().empty()) end_block();
    // A paragraph goes on without the marks of what it is in.
    if (!begun && !in_paragraph_) containers_.resize(kept);
    if (margin.text().empty() || is_code(margin)) return;
    const bool goes_on = in_paragraph_;
    const size_t at = margin.at();
    if (scan_block(begin, at, end, is_row)) {
      if (goes_on) containers_.resize(kept);
      return;
    }
    const bool backslash = bytes_[end - 1] == '\\';
    if (at < end - (backslash ? 1 : 0)) block_.push_back({at, end - (backslash ? 1 : 0)});
    in_paragraph_ = true;
    if (hard_break || backslash) cut_block();
  }

  /// Whether a line below is the end of a formula: without one, "$$" is text.
  bool formula_ends(size_t at) {
    while (!no_formula_ && at < bytes_.size()) {
      const size_t begin = std::min(bytes_.find_first_not_of(" \t\r\n>", at), bytes_.size());
      at = std::min(bytes_.find('\n', begin), bytes_.size());
      if (trim_space(line(begin, at)) == kFormula) return true;
    }
    no_formula_ = true;
    return false;
  }

  /// Reads a line that is not text of a paragraph; false: it is. `at`: behind the marks of what it is in.
  bool scan_block(size_t begin, size_t at, size_t end, bool is_row) {
    const std::string_view rest = line(at, end);
    fence_ = fence_of(rest);
    if (fence_ == kFormula && !formula_ends(end)) fence_ = {};
    if (!fence_.empty()) {
      fence_quotes_ = std::ranges::count(line(begin, at), '>');
      end_block();
      return true;
    }
    const bool begins_quote = !in_paragraph_ && !containers_.empty() && containers_.back() == kQuote;
    if (is_rule(rest, "=-*_", 1) || (begins_quote && is_alert(rest))) {
      end_block();
      return true;
    }
    const size_t level = std::min(rest.find_first_not_of('#'), rest.size());
    if (level >= 1 && level <= 6 && level < rest.size() && is_gap(rest[level])) {
      const size_t last = rest.find_last_not_of('#');
      add_block(at + level, is_gap(rest[last]) ? at + last : end, false);
      return true;
    }
    // In a quote or an item its end would have to be told from theirs; tags are markup there, too.
    const bool html = containers_.empty() && rest[0] == '<' && block_.empty() && begins_html_block(rest);
    if (html && (!is_row || rest.find('|') == kMissing)) {
      end_block();
      builder_.in_html(true);
      at_ = scan_html_block(bytes_, at, builder_);
      builder_.cut();
      builder_.in_html(false);
      return true;
    }
    if (is_row || rest[0] == '|' || is_table_head(rest)) {
      in_table_ = is_row || is_table_head(rest);
      end_block();
      scan_table_row(at, end);
      return true;
    }
    return rest[0] == '[' && scan_definition(at, end);
  }

  /// "[label]: address", "[^1]: text".
  bool scan_definition(size_t at, size_t end) {
    const size_t behind = behind_bracket(bytes_.substr(0, end), at, '[', ']');
    if (behind == kMissing || behind == end || bytes_[behind] != ':') return false;
    const ByteRange label = {at + 1, behind - 1};
    const size_t text = std::min(bytes_.find_first_not_of(" \t", behind + 1), end);
    const bool is_note = bytes_[label.begin] == '^';
    if (!is_note && (in_paragraph_ || !is_address(line(text, end)))) return false;
    end_block();
    if (!is_note) {
      if (finds_labels_) labels_.try_emplace(plain_label(line(label.begin, label.end)), label);
    } else if (text < end) {
      block_.push_back({text, end});
      in_paragraph_ = true;
    }
    return true;
  }

  std::string_view bytes_;
  SegmentBuilder& builder_;
  LinkLabels labels_;
  bool finds_labels_ = false;
  size_t at_ = 0;
  std::vector<ByteRange> block_;  // its lines since the last hard break, without what contains them
  std::string_view fence_;        // of the code that we are in
  size_t fence_quotes_ = 0;       // that it is in
  std::vector<size_t>
      containers_;  // that we are in: kQuote, or by how many columns an item's text is indented
  bool in_paragraph_ = false, in_table_ = false;
  bool no_formula_ = false;  // ends in what is left
};

}  // namespace

void scan_markdown(std::string_view bytes, SegmentBuilder& builder) {
  LinkLabels labels;
  if (bytes.find("]:") != kMissing) {
    std::vector<std::string> texts;
    std::vector<SegmentPlace> places;
    SegmentBuilder unused(texts, places);
    labels = MarkdownScanner(bytes, unused).find_labels();
  }
  MarkdownScanner(bytes, builder).scan(std::move(labels));
}

}  // namespace chorus::inline document
