// Aligned text by direction, in memory: what assessing and pruning a model look at.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "data/batch.h"
#include "data/config.h"
#include "data/dataset.h"
#include "data/vocabulary.h"

namespace chorus::inline data {

/// The usable pairs of one direction.
struct DirectionText {
  std::string name;  // "en-de"
  std::string from, to;
  std::vector<std::string> sources, references;
};

/// The first `limit` pairs (0: all) of each direction whose two cells are usable, in the order in which the
/// directions are met; sources without languages have those `among` these that they have files of. UserError
/// as find_sources, ParallelReader and expand_directions, and when a direction has no usable row.
std::vector<DirectionText> read_directions(std::span<const SourceConfig> sources, int64_t limit,
                                           std::span<const std::string> among = {});

/// The pairs in order, as a model reads and writes them. Those with a side of more than `longest` tokens, tag and </s>
/// included, are left out. UserError on a language without a tag.
std::vector<SentencePair> encoded_pairs(const DirectionText& text, const Vocabulary& vocabulary,
                                        int64_t longest);
/// UserError where every pair of a direction would be left out; a warning where some would.
void check_lengths(std::span<const DirectionText> texts, const Vocabulary& vocabulary, int64_t longest);
/// encoded_pairs() in micro-batches of a bounded number of rows.
std::vector<MicroBatch> batches_of(const DirectionText& text, const Vocabulary& vocabulary, int64_t longest);

}  // namespace chorus::inline data
