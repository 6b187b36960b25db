// Which word of a source each word of a translation comes from, as the model's cross-attention tells.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "data/dataset.h"
#include "data/vocabulary.h"
#include "model/transformer.h"

namespace chorus::inline decode {

struct AlignmentOptions {
  // Decoder layer, from 0; -1: ModelConfig::alignment_layer, or where nobody has chosen one the last but one, whose
  // mean over the heads aligns best (1909.02074).
  int64_t layer = -1;
  int64_t head = -1;  // -1: ModelConfig's where the layer is, or else the mean over all
};

/// Source word and target word, from 0, as white space cuts them.
using WordLink = std::pair<int64_t, int64_t>;

/// Returns, for each pair and in the order of its target's words, one link for each word: to the source word that the
/// pieces of the target word, when they are predicted, look at most. None where the source has no piece.
/// `batch_tokens` as score_pairs() has it. UserError on a layer or head that the model does not have.
std::vector<std::vector<WordLink>> align_pairs(Transformer& model, const Vocabulary& vocabulary,
                                               std::span<const SentencePair> pairs,
                                               const AlignmentOptions& options, int64_t batch_tokens);

/// UserError as align_pairs().
void check_alignment(const ModelConfig& model, const AlignmentOptions& options);

}  // namespace chorus::inline decode
