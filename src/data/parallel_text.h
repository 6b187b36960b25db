// Rows of parallel text: line i of every file says the same thing, each in its language.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/line_reader.h"

namespace chorus::inline data {

/// Where rows come from: one file per language, with aligned lines; or, with several languages and a single
/// file, a TSV file whose columns are the languages in order. One language and one file is monolingual text.
struct TextSource {
  std::vector<std::string> languages;
  std::vector<std::filesystem::path> files;  // as many as languages, or one
};

/// What a cell is good for. An empty one is no fault: in a corpus of many languages it says that this one
/// lacks the row.
enum class CellStatus : uint8_t {
  ok,
  empty,         // nothing but white space
  invalid_utf8,  // not UTF-8, or with a NUL byte (as binary files and UTF-16 have, and text has not)
  over_long,     // more bytes than the reader's limit
  misshapen,     // in a TSV row that has more or fewer columns than languages
};

/// One language of one row. A pair is usable when both its cells are ok.
struct Cell {
  std::string_view text;  // trimmed; empty unless ok; valid until the reader moves on
  CellStatus status = CellStatus::empty;
};

/// How often something was met, and the line (from 1) where first; 0 when never.
struct Tally {
  int64_t count = 0;
  int64_t first_line = 0;
  void add(int64_t line) {
    if (count++ == 0) first_line = line;
  }
};

/// What became of the cells of one language: every line is in exactly one of the counts.
struct CellCounts {
  std::string language;
  std::filesystem::path path;
  int64_t lines = 0;
  int64_t ok = 0;
  Tally empty = {}, invalid_utf8 = {}, over_long = {}, misshapen = {};
};

/// One line of English for each reason that occurred, empty cells last:
/// "de.txt: 3 lines with invalid UTF-8 (first: line 17)".
std::vector<std::string> summary(const CellCounts& counts);

/// Streams the rows of a source in bounded memory.
///
/// UserError as LineReader; when the numbers of languages and files do not fit; when the first row of a TSV
/// file has another number of columns than there are languages; and, at the end, when files differ in length:
/// "the files of a parallel corpus differ in length: en.txt has 1000 lines, de.txt 998". Nothing read so far
/// is then to be trusted.
class ParallelReader {
 public:
  explicit ParallelReader(TextSource source, size_t max_cell_bytes = kMaxLineBytes);

  /// Moves to the next row; false after the last.
  bool next();
  /// [languages] cells of the current row.
  [[nodiscard]] const std::vector<Cell>& cells() const { return cells_; }
  /// The row's line number, from 1.
  [[nodiscard]] int64_t row() const { return row_; }
  /// [languages] of the rows so far.
  [[nodiscard]] const std::vector<CellCounts>& counts() const { return counts_; }
  [[nodiscard]] const TextSource& source() const { return source_; }

 private:
  void classify(size_t language, std::string_view text, bool over_long);
  void split_columns(const LineReader& line);
  void refuse_unequal_lengths();

  TextSource source_;
  size_t max_cell_bytes_;
  std::vector<LineReader> readers_;
  std::vector<Cell> cells_;
  std::vector<CellCounts> counts_;
  int64_t row_ = 0;
};

}  // namespace chorus::inline data
