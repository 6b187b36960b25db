// How probable given translations are to a model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "chorus/model.h"

namespace chorus::inline face {

struct PairProbability {
  double log_probability = 0;                  // natural logarithm, summed over the target's tokens
  int64_t tokens = 0;                          // the tag, the pieces and the end
  std::vector<double> log_probabilities = {};  // of each piece, and of the end
  std::vector<std::string> pieces = {};  // which these are, as the vocabulary writes them: "▁the", "</s>"
};

/// Threads may share one.
class Scorer {
 public:
  /// As Translator's.
  Scorer(const Model& model, const std::string& from, const std::string& to);

  /// sources[i] with targets[i] gives element i. UserError where there are not as many targets as sources,
  /// a text is not UTF-8, or is longer than the model has positions for.
  [[nodiscard]] std::vector<PairProbability> score(const std::vector<std::string>& sources,
                                                   const std::vector<std::string>& targets) const;

 private:
  Model model_;
  std::string from_, to_;
};

}  // namespace chorus::inline face
