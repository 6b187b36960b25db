// Markdown (CommonMark, and tables, task lists, footnotes and strikethrough as GitHub has them). Blocks are told line by line,
// more coarsely than CommonMark does: what may be code stays.
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

bool is_gap(char c) {
  return c == ' ' || c == '\t';
}

/// "- ", "2. ": its length with the first space; 0: it is none.
size_t list_marker(std::string_view line) {
  size_t end = 0;
  while (end < std::min<size_t>(line.size(), 9) && line[end] >= '0' && line[end] <= '9') ++end;
  const bool marks =
      end < line.size() &&
      (end == 0 ? std::string_view("-*+") : std::string_view(".)")).find(line[end]) != kMissing;
  return marks && end + 1 < line.size() && is_gap(line[end + 1]) ? end + 2 : 0;
}

/// Whether the line is nothing but these characters, `least` or more of the first kind that is there.
bool is_rule(std::string_view line, std::string_view characters, size_t least) {
  if (line.empty() || characters.find(line[0]) == kMissing) return false;
  const auto count = static_cast<size_t>(std::ranges::count(line, line[0]));
  return count >= least && std::ranges::all_of(line, [&](char c) { return c == line[0] || is_gap(c); });
}

/// What begins a fence of code; empty: the line is none, as "```a``` b" is not.
std::string_view fence_of(std::string_view line) {
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

class MarkdownScanner {
 public:
  MarkdownScanner(std::string_view bytes, SegmentBuilder& builder) : bytes_(bytes), builder_(builder) {}

  /// Only what the document defines; the builder gets what is of no use.
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

  /// Of settings at the beginning, between lines "---" (YAML) or "+++" (TOML).
  [[nodiscard]] size_t front_matter_end() const {
    constexpr std::string_view kMark = "\xEF\xBB\xBF";  // that some editors begin a file with
    const size_t begin = bytes_.starts_with(kMark) ? kMark.size() : 0;
    const std::string_view rest = bytes_.substr(begin);
    for (const std::string line : {"---", "+++"}) {
      if (!rest.starts_with(line + "\n") && !rest.starts_with(line + "\r\n")) continue;
      const size_t end = bytes_.find("\n" + line, begin + line.size());
      return end == kMissing ? begin : std::min(bytes_.find('\n', end + 1), bytes_.size());
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
  void end_block() {
    give(block_, true);
    block_.clear();
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

  /// Goes behind the marks of quotes and list items; a list item begins a block. What is deeper than anybody writes is text.
  size_t skip_containers(size_t at, size_t end) {
    begins_item_ = false;
    size_t items = 0;
    while (at < end) {
      if (is_gap(bytes_[at]) || bytes_[at] == '>') {
        ++at;
        continue;
      }
      if (is_rule(line(at, end), "-*_", 3)) break;
      const size_t marker = list_marker(line(at, end));
      if (marker == 0 || items++ == SegmentBuilder::kDeepest) break;
      end_block();
      in_list_ = begins_item_ = true;
      at += marker;
      const std::string_view rest = line(at, end);
      if (rest.starts_with("[ ] ") || rest.starts_with("[x] ") || rest.starts_with("[X] ")) at += 4;
    }
    return at;
  }

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
    const std::string_view bare = line(begin, end);
    if (!fence_.empty() && scan_code_line(bare)) return;
    const bool was_in_table = std::exchange(in_table_, false);
    if (bare.find_first_not_of(" \t>") == kMissing) return end_block();
    const bool indented = bare.starts_with("    ") || bare.starts_with("\t");
    if (indented && block_.empty() && !in_list_) return;  // code
    if (!is_gap(bare[0]) && block_.empty()) in_list_ = false;
    const size_t at = skip_containers(begin, end);
    const std::string_view rest = line(at, end);
    const bool in_table = was_in_table && !begins_item_;
    if (rest.empty()) return end_block();
    if (fence_ = fence_of(rest); !fence_.empty()) {
      fence_quotes_ = std::ranges::count(line(begin, at), '>');
      return end_block();
    }
    if (is_rule(rest, "=-*_", 1)) return end_block();
    const size_t level = std::min(rest.find_first_not_of('#'), rest.size());
    if (level >= 1 && level <= 6 && level < rest.size() && is_gap(rest[level])) {
      const size_t last = rest.find_last_not_of('#');
      return add_block(at + level, is_gap(rest[last]) ? at + last : end, false);
    }
    const bool html = rest[0] == '<' && block_.empty() && begins_html_block(rest);
    const bool row = in_table && (!html || rest.find('|') != kMissing);
    if (row || rest[0] == '|' || is_table_head(rest)) {
      in_table_ = row || is_table_head(rest);
      end_block();
      return scan_table_row(at, end);
    }
    if (rest[0] == '[') {
      const size_t label = behind_bracket(bytes_.substr(0, end), at, '[', ']');
      if (label != kMissing && label < end && bytes_[label] == ':') {
        end_block();
        if (finds_labels_ && !rest.starts_with("[^"))
          labels_.try_emplace(plain_label(line(at + 1, label - 1)), ByteRange{at + 1, label - 1});
        const size_t text = std::min(bytes_.find_first_not_of(" \t", label + 1), end);
        if (rest.starts_with("[^") && text < end) block_.push_back({text, end});
        return;
      }
    }
    if (html) {
      at_ = scan_html_block(bytes_, at, builder_);
      builder_.cut();
      return;
    }
    const bool backslash = rest.ends_with('\\');
    if (at < end - (backslash ? 1 : 0)) block_.push_back({at, end - (backslash ? 1 : 0)});
    if (hard_break || backslash) end_block();
  }

  std::string_view bytes_;
  SegmentBuilder& builder_;
  LinkLabels labels_;
  bool finds_labels_ = false;
  size_t at_ = 0;
  std::vector<ByteRange> block_;  // its lines, without what contains them
  std::string_view fence_;        // of the code that we are in
  size_t fence_quotes_ = 0;       // that it is in
  bool in_list_ = false, in_table_ = false, begins_item_ = false;
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
