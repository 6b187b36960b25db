// How a text uses the experts: the statistics that pruning goes by.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/direction_text.h"
#include "model/transformer.h"

namespace chorus::inline surgery {

/// Sums over the tokens that one MoE layer with E experts has seen: source tokens in the encoder, target
/// tokens in the decoder.
struct ExpertUsage {
  int64_t tokens = 0;
  std::vector<int64_t> chosen;       // [E] tokens that have the expert among their k
  std::vector<int64_t> first;        // [E] tokens whose first choice it is
  std::vector<int64_t> by_language;  // [G, E] of `chosen`, the tokens in each of the vocabulary's G languages
  std::vector<double> gate;          // [E] sum of its gates, which weigh its output
  std::vector<double> confidence;    // [E] sum of its probability over the tokens whose first choice it is
};

/// Returns how many of the MoE layers are the encoder's, which come first.
[[nodiscard]] size_t moe_layers_in_encoder(const Catalogue& catalogue);

/// Runs the pairs through the model, teacher-forced; returns one result per MoE layer, encoder first. No capacity
/// factor binds; a Switch encoder still keeps at most moe.sentence_capacity tokens per expert and sentence, as
/// transformers does. Pairs beyond the model's positions are left out. UserError on a language that the model does
/// not know. `progress`, which may be empty, is told of the pairs that are done.
std::vector<ExpertUsage> measure_usage(Transformer& model, const Vocabulary& vocabulary,
                                       std::span<const DirectionText> texts,
                                       const std::function<void(int64_t pairs)>& progress);

}  // namespace chorus::inline surgery
