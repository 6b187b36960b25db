// Which layer and head of a model align words best, told by text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "decode/alignment.h"

namespace chorus::inline decode {

/// What a pair's links should be.
struct GoldLinks {
  std::vector<WordLink> sure, possible;  // `possible` holds the sure ones too
};

/// Parses a line of Pharaoh's form: "0-0 1-2", source first; "3?4" and "3p4" are possible. Error on anything else.
GoldLinks parse_links(std::string_view line);

/// Reads a line of links for each pair. UserError naming file and line, also on a link to a word that is not there,
/// and when the number of lines is another, or no line has a link.
std::vector<GoldLinks> read_gold(const std::filesystem::path& path, const Vocabulary& vocabulary,
                                 std::span<const SentencePair> pairs);

/// Links that the text itself tells, without looking at the model: of words that are met together so often that they
/// belong together in both directions (IBM model 1). Most words of a small text have none. UserError where no word has.
std::vector<GoldLinks> links_by_counts(const Vocabulary& vocabulary, std::span<const SentencePair> pairs);

struct AlignmentScore {
  int64_t layer = 0, head = -1;  // -1: the mean over the heads
  // Alignment error rate, 0 to 1 (Och and Ney, "A systematic comparison of various statistical alignment models",
  // 2003).
  double error = 0;
};

/// Scores for each layer the mean over its heads, then each head. gold[i]: the links of pair i. `progress` is told of
/// the pairs done so far.
std::vector<AlignmentScore> score_alignments(Transformer& model, const Vocabulary& vocabulary,
                                             std::span<const SentencePair> pairs,
                                             std::span<const GoldLinks> gold, int64_t batch_tokens,
                                             const std::function<void(int64_t)>& progress = {});

}  // namespace chorus::inline decode
