#include "data/parallel_text.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "base/utf8.h"

namespace chorus::inline data {
namespace {

bool is_tsv(const TextSource& source) {
  return source.files.size() == 1 && source.languages.size() > 1;
}

}  // namespace

std::vector<std::string> summary(const CellCounts& counts) {
  std::vector<std::string> result;
  const auto add = [&](const Tally& tally, const char* what) {
    if (tally.count == 0) return;
    result.push_back(fmt::format("{}: {} {} (first: line {})", counts.path.string(),
                                 counted(tally.count, "line"), what, tally.first_line));
  };
  add(counts.invalid_utf8, "with invalid UTF-8");
  add(counts.over_long, "over-long");
  add(counts.misshapen, "with a wrong number of columns");
  add(counts.empty, "empty");
  return result;
}

ParallelReader::ParallelReader(TextSource source, size_t max_cell_bytes)
    : source_(std::move(source)), max_cell_bytes_(max_cell_bytes) {
  const size_t languages = source_.languages.size();
  if (languages == 0) throw UserError("a source of text needs at least one language");
  if (source_.files.size() != languages && source_.files.size() != 1) {
    throw UserError("a source of {} has {}: give one file per language, or one TSV file",
                    counted(languages, "language"), counted(source_.files.size(), "file"));
  }
  const size_t max_line_bytes = is_tsv(source_) ? languages * (max_cell_bytes + 1) : max_cell_bytes;
  for (const auto& file : source_.files) readers_.emplace_back(file, max_line_bytes);
  cells_.resize(languages);
  for (size_t i = 0; i < languages; ++i) {
    counts_.push_back({.language = source_.languages[i], .path = source_.files[is_tsv(source_) ? 0 : i]});
  }
}

bool ParallelReader::next() {
  size_t advanced = 0;
  for (auto& reader : readers_) advanced += reader.next() ? 1 : 0;
  if (advanced == 0) return false;
  if (advanced < readers_.size()) refuse_unequal_lengths();
  ++row_;
  if (is_tsv(source_)) {
    split_columns(readers_[0]);
  } else {
    for (size_t i = 0; i < readers_.size(); ++i) classify(i, readers_[i].text(), readers_[i].over_long());
  }
  return true;
}

void ParallelReader::classify(size_t language, std::string_view text, bool over_long) {
  CellCounts& counts = counts_[language];
  Cell& cell = cells_[language];
  ++counts.lines;
  cell.text = {};
  if (over_long || text.size() > max_cell_bytes_) {
    cell.status = CellStatus::over_long;
    counts.over_long.add(row_);
  } else if (!is_valid_utf8(text) || text.find('\0') != std::string_view::npos) {
    cell.status = CellStatus::invalid_utf8;
    counts.invalid_utf8.add(row_);
  } else if (text = trim_space(text); text.empty()) {
    cell.status = CellStatus::empty;
    counts.empty.add(row_);
  } else {
    cell = {text, CellStatus::ok};
    ++counts.ok;
  }
}

void ParallelReader::split_columns(const LineReader& line) {
  const std::string_view text = line.text();
  const size_t columns = static_cast<size_t>(std::ranges::count(text, '\t')) + 1;
  if (line.over_long()) {
    for (size_t i = 0; i < cells_.size(); ++i) classify(i, {}, true);
  } else if (columns == cells_.size()) {
    size_t begin = 0;
    for (size_t i = 0; i < columns; ++i) {
      const size_t end = std::min(text.find('\t', begin), text.size());
      classify(i, text.substr(begin, end - begin), false);
      begin = end + 1;
    }
  } else if (row_ == 1) {
    throw UserError("{}:1: the row has {}, but {} languages are named for it", line.path().string(),
                    counted(columns, "column"), cells_.size());
  } else {
    for (size_t i = 0; i < cells_.size(); ++i) {
      cells_[i] = {{}, CellStatus::misshapen};
      ++counts_[i].lines;
      counts_[i].misshapen.add(row_);
    }
  }
}

void ParallelReader::refuse_unequal_lengths() {
  for (auto& reader : readers_) {
    while (reader.next()) continue;
  }
  const LineReader& first = readers_[0];
  const auto other =
      std::ranges::find_if(readers_, [&](const LineReader& r) { return r.number() != first.number(); });
  throw UserError("the files of a parallel corpus differ in length: {} has {}, {} has {}",
                  first.path().string(), counted(first.number(), "line"), other->path().string(),
                  counted(other->number(), "line"));
}

}  // namespace chorus::inline data
