#include "report/internal/translations.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "io/run_layout.h"
#include "metrics/bleu.h"
#include "metrics/chrf.h"
#include "metrics/confidence.h"

namespace chorus::inline report {

namespace {

template <class T>
T member(const nlohmann::json& object, const char* key, const std::filesystem::path& file) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  std::optional<T> value = found == object.end() ? std::nullopt : exactly<T>(*found);
  if (!value) throw UserError("{}: no usable {}", file.string(), in_quotes(key));
  return std::move(*value);
}

/// One metric of both runs, on the same resamples.
struct ResampledScore {
  double score = 0;
  std::vector<double> resampled;
};
struct ScoredPair {
  ResampledScore baseline, other;
};

Comparison comparison_of(const ScoredPair& pair, std::string direction, std::string metric, size_t lines) {
  const auto with_interval = [](const ResampledScore& scored) {
    return ScoreWithInterval{.score = scored.score, .half_width = confidence(scored.resampled).half_width};
  };
  return {
      .direction = std::move(direction),
      .metric = std::move(metric),
      .lines = lines,
      .baseline = with_interval(pair.baseline),
      .other = with_interval(pair.other),
      .p = p_value(pair.baseline.score - pair.other.score, pair.baseline.resampled, pair.other.resampled)};
}

void add(ResampledScore& sum, const ResampledScore& scored, double weight) {
  sum.score += weight * scored.score;
  sum.resampled.resize(scored.resampled.size());
  for (size_t i = 0; i < scored.resampled.size(); ++i) sum.resampled[i] += weight * scored.resampled[i];
}

ResampledScore bleu_of(const Translations& t) {
  const BleuScore score =
      bleu(t.translations, t.references, {.tokenizer = Tokenizer(t.tokenizer), .resamples = kResamples});
  return {score.score, score.resampled};
}

ResampledScore chrf_of(const Translations& t) {
  const ChrfScore score = chrf(t.translations, t.references, {.resamples = kResamples});
  return {score.score, score.resampled};
}

}  // namespace

std::optional<KeptTranslations> read_translations(const std::filesystem::path& run) {
  const std::filesystem::path file = run / kRunTranslations;
  if (!std::filesystem::exists(file)) return std::nullopt;
  const nlohmann::json json = read_json(file);
  KeptTranslations kept = {.update = member<double>(json, "update", file), .directions = {}};
  const auto directions = json.find("directions");
  if (directions == json.end() || !directions->is_array())
    throw UserError("{}: no list of directions", file.string());
  for (const nlohmann::json& direction : *directions) {
    using Lines = std::vector<std::string>;
    Translations t = {.direction = member<std::string>(direction, "name", file),
                      .tokenizer = member<std::string>(direction, "tokenize", file),
                      .sources = member<Lines>(direction, "sources", file),
                      .references = member<Lines>(direction, "references", file),
                      .translations = member<Lines>(direction, "translations", file)};
    if (t.sources.empty() || t.sources.size() != t.references.size() ||
        t.sources.size() != t.translations.size())
      throw UserError("{}: {} has lists of different lengths, or empty ones", file.string(),
                      in_quotes(t.direction));
    static_cast<void>(Tokenizer(t.tokenizer));  // UserError where there is none of that name
    kept.directions.push_back(std::move(t));
  }
  return kept;
}

std::vector<Comparison> compare(const KeptTranslations& baseline, const KeptTranslations& other) {
  std::vector<Comparison> list;
  std::vector<std::pair<const Translations*, const Translations*>> both;
  for (const Translations& own : baseline.directions) {
    const auto theirs = std::ranges::find(other.directions, own.direction, &Translations::direction);
    if (theirs != other.directions.end() && theirs->sources == own.sources &&
        theirs->references == own.references && theirs->tokenizer == own.tokenizer)
      both.emplace_back(&own, &*theirs);
  }
  for (const auto& [metric, score] : {std::pair{"BLEU", &bleu_of}, std::pair{"chrF", &chrf_of}}) {
    ScoredPair mean;
    size_t lines = 0;
    for (const auto& [own, theirs] : both) {
      const ScoredPair pair = {.baseline = score(*own), .other = score(*theirs)};
      list.push_back(comparison_of(pair, own->direction, metric, own->sources.size()));
      lines += own->sources.size();
      add(mean.baseline, pair.baseline, 1 / static_cast<double>(both.size()));
      add(mean.other, pair.other, 1 / static_cast<double>(both.size()));
    }
    if (both.size() > 1) list.push_back(comparison_of(mean, "", metric, lines));
  }
  return list;
}

}  // namespace chorus::inline report
