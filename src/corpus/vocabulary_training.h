// Makes a vocabulary of text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "corpus/vocabulary_training.h"
#include "data/config.h"

namespace chorus::inline corpus {

struct VocabularyTraining {
  uint64_t seed = 1;
  std::vector<std::string> more_languages;                // get a tag though no source has them
  std::vector<std::string> symbols;                       // as Vocabulary::symbol, besides config.symbols
  std::function<void(const std::string& line)> progress;  // what is being done
};

/// The size of a vocabulary for so many lines of text, all languages together, where the user names none: 24
/// rows per root of a line, 1,000 to 32,000. About what is taken in practice: 8,000 for the 120,000 lines of
/// Multi30k in four languages, 32,000 from two million on.
int64_t suited_size(int64_t lines);

/// Trains a unigram model with byte pieces on a sample of the cells of `sources` (data/sources.h),
/// with a tag for each of their languages, and writes it to `out` atomically. The sample holds at most
/// config.sentences lines, shared over languages by temperature, in memory that does not grow with the
/// corpus. It and the model depend on the text, the config and `seed` alone, not on the machine. UserError
/// when there is no text, when it is unreadable, or when config.size does not fit it (it says which size
/// would do). With config.size = 0 the size is suited_size(), or the nearest that fits the text.
void train_vocabulary(std::span<const SourceConfig> sources, const VocabularyConfig& config,
                      const std::filesystem::path& out, const VocabularyTraining& training = {});

}  // namespace chorus::inline corpus
