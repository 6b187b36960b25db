// Aligned text from which micro-batches are made.
#pragma once

#include <string>
#include <vector>

#include <fmt/format.h>

#include "data/batches.h"
#include "data/corpus.h"

namespace chorus {

struct BatchCorpus {
  TemporaryFolder folder;
  std::vector<SourceConfig> sources;
  BatchOptions options{
      .seed = 5, .temperature = 1, .batch_tokens = 300, .micro_batches = 3, .pool_batches = 4};

  void add(const std::string& a, const std::string& b, int64_t rows,
           std::vector<std::string> directions = {}) {
    const std::string name = fmt::format("{}{}{}", a, b, rows);
    for (const auto& language : {a, b})
      write_lines(folder / (name + "." + language), sentences(language, rows));
    sources.push_back({.files = (folder / (name + ".{lang}")).string(),
                       .languages = {a, b},
                       .directions = std::move(directions)});
  }
  [[nodiscard]] DataSet open() const {
    return {sources, small_vocabulary(), {.store = folder / "store", .build = {}}};
  }
};

}  // namespace chorus
