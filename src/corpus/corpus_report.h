// What a corpus holds: lines, words, characters, lengths, duplicates, and what cannot be used.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "data/parallel_text.h"

namespace chorus::inline corpus {

/// Counts items that were there before, by 64-bit hashes and in bounded memory: exact up to four million
/// distinct items; beyond, it keeps the items of every 2nd, 4th, ... hash and multiplies what it finds.
class DuplicateCounter {
 public:
  explicit DuplicateCounter(size_t max_items = 4 << 20) : max_items_(max_items) {}
  void add(uint64_t hash);
  [[nodiscard]] int64_t duplicates() const { return duplicates_ << shift_; }
  [[nodiscard]] bool exact() const { return shift_ == 0; }

 private:
  size_t max_items_;
  int shift_ = 0;  // items are kept whose hash ends in this many zero bits
  int64_t duplicates_ = 0;
  std::unordered_set<uint64_t> kept_;
};

/// Upper bounds in characters of the histogram's bars; the last bar has none.
inline constexpr std::array<int64_t, 8> kLengthBounds = {10, 20, 40, 80, 160, 320, 640, 1280};

/// One language of a source.
struct LanguageReport {
  CellCounts cells;        // lines, and those that cannot be used
  int64_t characters = 0;  // code points of the usable lines
  int64_t words = 0;  // of the usable lines: runs between white space, which says little for Chinese or Thai
  int64_t longest = 0;  // characters
  std::array<int64_t, kLengthBounds.size() + 1> lengths = {};
  DuplicateCounter repeated;  // usable lines seen before
};

struct CorpusReport {
  std::vector<LanguageReport> languages;
  int64_t rows = 0;
  int64_t usable = 0;         // rows with two usable cells or more (of a monolingual source: one)
  int64_t complete = 0;       // rows with all cells usable
  DuplicateCounter repeated;  // usable rows seen before, all cells equal
};

/// Reads a source once, in bounded memory. UserError as ParallelReader.
CorpusReport report_corpus(const TextSource& source);

/// Return the report as text for a terminal, and several reports as a JSON array.
std::string to_table(const CorpusReport& report);
std::string to_json(const std::vector<CorpusReport>& reports);

}  // namespace chorus::inline corpus
