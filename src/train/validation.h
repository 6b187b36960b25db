// How good a model is on text it was not trained on: loss, scores of translations, and which experts serve
// which language.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "comm/group.h"
#include "data/batches.h"
#include "data/dataset.h"
#include "model/transformer.h"
#include "train/assessment.h"
#include "train/config.h"

namespace chorus::inline train {

struct DirectionResult {
  std::string name;  // "en-de"; of a denoising task "denoise:en"
  std::string task;  // "translation", "denoise"
  int64_t sentences = 0;
  int64_t tokens = 0;  // target tokens
  double nll = 0;      // sum, in nats
  int64_t correct = 0;
  // Of the first validation.decode sentences, against the detokenised reference.
  std::optional<double> bleu, chrf;
  std::string tokenizer;                                                           // BLEU's
  [[nodiscard]] double loss() const { return nll / static_cast<double>(tokens); }  // per token
};

struct ValidationResult {
  std::vector<DirectionResult> directions;
  std::vector<MoeStatistics> load;     // of each sparse layer in translation, encoder first, by language
  std::vector<std::string> layers;     // their names
  std::vector<std::string> languages;  // rows of MoeStatistics::by_group
  /// Mean loss over the directions of a task.
  [[nodiscard]] double loss(std::string_view task) const;
  /// Takes over BLEU and chrF of each direction.
  void add_scores(const Assessment& assessment);
  /// Mean over the directions of translation.
  [[nodiscard]] double criterion(Criterion criterion) const;
  /// Whether the loss of every direction is a finite number.
  [[nodiscard]] bool is_finite() const;
  /// Returns a line for people: the means, and the best and the worst direction.
  [[nodiscard]] std::string line() const;
};

nlohmann::json to_json(const ValidationResult& result);

/// Pairs of each direction that validation.decode translates.
int64_t translated_pairs(const ValidationConfig& config);
/// How, all ranks of `world` together; translations are kept.
/// `batch_tokens`: data.batch_tokens, which bounds a batch of translations of more than one sentence.
AssessOptions assess_options(const ValidationConfig& config, int64_t batch_tokens, Group& world);

/// The sentences of `data` that `options` names once, teacher-forced, by all ranks of `world` together,
/// spread as `parallel` says; all get the result. Deterministic. bleu and chrf are left out.
ValidationResult validate(Transformer& model, const DataSet& data, const SequentialOptions& options,
                          Group& world, const Parallel& parallel);

}  // namespace chorus::inline train
