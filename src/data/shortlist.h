// Shortlists: for each language, the pieces that translations into it are written with (`translate --shortlist`).
//
// A list has the pieces that are most frequent in text of its language; and, so that any word can be spelt and a number
// written, every piece of one character that occurs in that text or in ASCII, and the pieces of single bytes. What a
// line wants copied besides is added to the list for that line (decode/translator.h).
//
// The file is a safetensors file: for each language a tensor of its name, I32 [n], token ids in ascending order;
// metadata "vocabulary" is the hash of the vocabulary. So one file serves every model of the vocabulary, whatever its
// weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/vocabulary.h"

namespace chorus::inline data {

/// Of each language how often each piece occurs: [vocabulary.size()].
using PieceCounts = std::map<std::string, std::vector<int64_t>>;

/// Counts the pieces of the usable cells of each source, which names its languages (data/sources.h), on as many
/// threads as the process may keep busy. `progress` is told now and then how many rows are counted. UserError on a
/// language that the vocabulary does not have, and as ParallelReader.
PieceCounts count_pieces(std::span<const SourceConfig> sources, const Vocabulary& vocabulary,
                         const std::function<void(int64_t rows)>& progress = {});

struct ShortlistLimits {
  int64_t top = 20'000;  // most frequent pieces that a list has, at most; 0: all that occur
  int64_t least = 1;     // and how often each must occur
};

/// Makes the list of a language from its counts.
std::vector<int32_t> make_shortlist(const Vocabulary& vocabulary, std::span<const int64_t> counts,
                                    const ShortlistLimits& limits);

/// How many tokens there are among those that are counted, without those that stand for no text (unk), and how many
/// of these are on the list.
struct ShortlistCoverage {
  int64_t covered = 0, tokens = 0;
};
ShortlistCoverage coverage(const Vocabulary& vocabulary, std::span<const int32_t> list,
                           std::span<const int64_t> counts);

/// Writes the lists to a file. Errors as AtomicFile.
void write_shortlists(const std::filesystem::path& file, const Vocabulary& vocabulary,
                      const std::map<std::string, std::vector<int32_t>>& lists);

/// Reads the list of a language. UserError naming the file when it is missing, damaged, no such file, of another
/// vocabulary, or has no list of the language.
std::vector<int32_t> read_shortlist(const std::filesystem::path& file, const Vocabulary& vocabulary,
                                    const std::string& language);

}  // namespace chorus::inline data
