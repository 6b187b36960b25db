#include "corpus/corpus_report.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/utf8.h"
#include "io/files.h"

namespace chorus::inline corpus {
namespace {

bool ends_in_zeros(uint64_t hash, int bits) {
  return (hash & ((uint64_t{1} << bits) - 1)) == 0;
}

void measure(std::string_view text, LanguageReport& report) {
  const auto characters = static_cast<int64_t>(count_code_points(text));
  report.characters += characters;
  report.longest = std::max(report.longest, characters);
  ++report.lengths[static_cast<size_t>(std::ranges::lower_bound(kLengthBounds, characters) -
                                       kLengthBounds.begin())];
  bool in_word = false;
  for (size_t i = 0; i < text.size();) {
    const bool space = is_file_space(next_code_point(text, i));
    if (!space && !in_word) ++report.words;
    in_word = !space;
  }
  report.repeated.add(hash_bytes(text));
}

std::string about(const DuplicateCounter& counter) {
  return fmt::format("{}{}", counter.exact() ? "" : "about ", counter.duplicates());
}

std::string length_name(size_t bar) {
  const int64_t low = bar == 0 ? 1 : kLengthBounds[bar - 1] + 1;
  return bar == kLengthBounds.size() ? fmt::format("{}-", low)
                                     : fmt::format("{}-{}", low, kLengthBounds[bar]);
}

std::string histogram(const LanguageReport& report) {
  constexpr int64_t kWidth = 50;
  const int64_t most = std::max<int64_t>(1, *std::ranges::max_element(report.lengths));
  std::string text;
  for (size_t i = 0; i < report.lengths.size(); ++i) {
    if (report.lengths[i] == 0) continue;
    const auto bar = static_cast<size_t>(std::max<int64_t>(1, report.lengths[i] * kWidth / most));
    text += fmt::format("  {:>9} {:<50} {}\n", length_name(i), std::string(bar, '#'), report.lengths[i]);
  }
  return text.empty() ? text : "  characters per line:\n" + text;
}

nlohmann::ordered_json tally_json(const Tally& tally) {
  return {{"count", tally.count}, {"first_line", tally.first_line}};
}

nlohmann::ordered_json duplicates_json(const DuplicateCounter& counter) {
  return {{"count", counter.duplicates()}, {"exact", counter.exact()}};
}

nlohmann::ordered_json as_json(const CorpusReport& report) {
  nlohmann::ordered_json json = {{"rows", report.rows},
                                 {"usable", report.usable},
                                 {"complete", report.complete},
                                 {"repeated", duplicates_json(report.repeated)}};
  for (const LanguageReport& language : report.languages) {
    const CellCounts& cells = language.cells;
    nlohmann::ordered_json lengths;
    for (size_t i = 0; i < language.lengths.size(); ++i) lengths[length_name(i)] = language.lengths[i];
    json["languages"].push_back({{"language", cells.language},
                                 {"path", cells.path.string()},
                                 {"lines", cells.lines},
                                 {"usable", cells.ok},
                                 {"words", language.words},
                                 {"characters", language.characters},
                                 {"longest", language.longest},
                                 {"repeated", duplicates_json(language.repeated)},
                                 {"dropped",
                                  {{"empty", tally_json(cells.empty)},
                                   {"invalid_utf8", tally_json(cells.invalid_utf8)},
                                   {"over_long", tally_json(cells.over_long)},
                                   {"misshapen", tally_json(cells.misshapen)}}},
                                 {"characters_a_line", lengths}});
  }
  return json;
}

}  // namespace

void DuplicateCounter::add(uint64_t hash) {
  if (!ends_in_zeros(hash, shift_)) return;
  if (!kept_.insert(hash).second) {
    ++duplicates_;
  } else if (kept_.size() > max_items_) {
    ++shift_;
    duplicates_ /= 2;
    std::erase_if(kept_, [&](uint64_t kept) { return !ends_in_zeros(kept, shift_); });
  }
}

CorpusReport report_corpus(const TextSource& source) {
  ParallelReader reader(source);
  CorpusReport report;
  report.languages.resize(source.languages.size());
  const size_t wanted = std::min<size_t>(2, source.languages.size());
  while (reader.next()) {
    ++report.rows;
    size_t usable = 0;
    std::string hashes;
    for (size_t i = 0; i < reader.cells().size(); ++i) {
      const Cell& cell = reader.cells()[i];
      hashes += hash_text(hash_bytes(cell.text));
      if (cell.status != CellStatus::ok) continue;
      ++usable;
      measure(cell.text, report.languages[i]);
    }
    if (usable < wanted) continue;
    ++report.usable;
    report.complete += usable == reader.cells().size() ? 1 : 0;
    report.repeated.add(hash_bytes(hashes));
  }
  for (size_t i = 0; i < report.languages.size(); ++i) report.languages[i].cells = reader.counts()[i];
  return report;
}

std::string to_table(const CorpusReport& report) {
  std::string text;
  for (const LanguageReport& language : report.languages) {
    const CellCounts& cells = language.cells;
    text +=
        fmt::format("{}{}\n  lines {}, usable {}, words {}, characters {}, longest line {}, repeated {}\n",
                    cells.language.empty() ? "" : cells.language + ": ", one_line(cells.path.string()),
                    cells.lines, cells.ok, language.words, language.characters,
                    counted(language.longest, "character"), about(language.repeated));
    for (const auto& line : summary(cells)) text += "  " + line + "\n";
    text += histogram(language);
  }
  if (report.languages.size() > 1) {
    text += fmt::format("rows {}, usable {} (two languages or more), complete {}, repeated {}\n", report.rows,
                        report.usable, report.complete, about(report.repeated));
  }
  return text;
}

std::string to_json(const std::vector<CorpusReport>& reports) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const CorpusReport& report : reports) json.push_back(as_json(report));
  // Paths may hold any bytes.
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace chorus::inline corpus
