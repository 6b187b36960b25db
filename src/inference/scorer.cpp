#include "chorus/scorer.h"

#include "base/error.h"
#include "base/text.h"
#include "decode/scorer.h"

#include "inference/internal/loaded.h"
#include "inference/internal/pairs.h"

namespace chorus::inline face {

Scorer::Scorer(const Model& model, const std::string& from, const std::string& to)
    : model_(model), from_(from), to_(to) {
  static_cast<void>(model.loaded().vocabulary.pair_tags(from, to));
}

std::vector<PairProbability> Scorer::score(const std::vector<std::string>& sources,
                                           const std::vector<std::string>& targets) const {
  if (sources.size() != targets.size())
    throw UserError("{} and {}: text i of one is the translation of text i of the other",
                    counted(sources.size(), "source"), counted(targets.size(), "target"));
  const std::vector<SentencePair> pairs = pairs_of(model_.loaded().vocabulary, from_, to_, sources, targets);
  const Vocabulary target = model_.loaded().vocabulary.target();
  std::vector<PairProbability> scores;
  for (const PairScore& score : score_pairs(*model_.loaded().transformer, pairs, kBatchTokens)) {
    std::vector<std::string> pieces;
    for (const int32_t id : pairs[scores.size()].target) pieces.push_back(target.name_of(id));
    pieces.push_back(target.name_of(kEos));
    scores.push_back({.log_probability = score.log_probability,
                      .tokens = score.tokens,
                      .log_probabilities = {score.log_probabilities.begin(), score.log_probabilities.end()},
                      .pieces = std::move(pieces)});
  }
  return scores;
}

}  // namespace chorus::inline face
