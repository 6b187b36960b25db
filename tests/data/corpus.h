// A folder of invented text, and a vocabulary trained on it, for the tests of the data module.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/random.h"
#include "corpus/vocabulary_training.h"
#include "data/vocabulary.h"
#include "temporary_folder.h"

namespace chorus {

inline void write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline void write_lines(const std::filesystem::path& path, const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  write_text(path, text);
}

/// `count` sentences of 1 to 12 invented words, different for each language.
inline std::vector<std::string> sentences(const std::string& language, int64_t count) {
  const RandomKey key = RandomKey(7).derive(language);
  std::vector<std::string> lines;
  for (int64_t i = 0; i < count; ++i) {
    const RandomKey line = key.derive(i);
    std::string text;
    for (uint64_t word = 0; word < 1 + line.below(0, 12); ++word) {
      const RandomKey letters = key.derive("word").derive(line.below(word + 1, 300));
      text += word == 0 ? "" : " ";
      for (uint64_t k = 0; k < 2 + letters.below(0, 6); ++k)
        text += static_cast<char>('a' + letters.below(k + 1, 26));
    }
    lines.push_back(text);
  }
  return lines;
}

/// A vocabulary of 600 with the languages de, en, fr, made once.
inline const Vocabulary& small_vocabulary() {
  static const Vocabulary vocabulary = [] {
    const TemporaryFolder folder;
    for (const char* language : {"de", "en", "fr"}) {
      write_lines(folder / (std::string("text.") + language), sentences(language, 400));
    }
    const SourceConfig source{.files = (folder / "text.{lang}").string(), .languages = {"en", "de", "fr"}};
    VocabularyConfig config;
    config.size = 600;
    train_vocabulary({&source, 1}, config, folder / "vocabulary.model");
    return Vocabulary::load(folder / "vocabulary.model");
  }();
  return vocabulary;
}

}  // namespace chorus
