// The translations of held-out text that a run keeps, RUN/translations.json, and what they say of two runs.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace chorus::inline report {

struct Translations {
  std::string direction, tokenizer;
  std::vector<std::string> sources, references, translations;  // by line
};

/// Those of a run's best validation. UserError where the file is there and is not what a run writes.
struct KeptTranslations {
  double update = 0;
  std::vector<Translations> directions;
};
std::optional<KeptTranslations> read_translations(const std::filesystem::path& run);

struct ScoreWithInterval {
  double score = 0, half_width = 0;  // of the interval that holds 95 % of resamples
};
/// Two runs on the same lines; p-values as p_value() of metrics/confidence.h.
struct Comparison {
  std::string direction;  // "" for the mean over directions
  std::string metric;     // "BLEU", "chrF"
  size_t lines = 0;
  ScoreWithInterval baseline, other;
  double p = 1;
};
/// Each direction that both have with the same sources, references and tokeniser; with several the mean over them
/// too, of which the resamples are the means of theirs. Empty where there is no such direction.
std::vector<Comparison> compare(const KeptTranslations& baseline, const KeptTranslations& other);

}  // namespace chorus::inline report
