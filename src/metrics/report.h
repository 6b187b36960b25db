// Scores as people and scripts read them: sacreBLEU's text and JSON forms.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "metrics/bleu.h"
#include "metrics/chrf.h"
#include "metrics/confidence.h"

namespace chorus::inline metrics {

/// What ends a signature: the sacreBLEU release whose figures these equal, and that it was chorus that
/// computed them.
inline constexpr std::string_view kMetricsVersion = "2.6.0+chorus";

struct MetricReport {
  std::string name;  // "BLEU", "chrF2", "chrF2++"
  double score = 0;
  std::optional<Confidence> confidence;  // where it was resampled
  std::string signature;
  std::string verbose;  // what text puts behind the score; may be empty
};

MetricReport report(const BleuScore& score);
MetricReport report(const ChrfScore& score);

/// One line each, `NAME|SIGNATURE = SCORE VERBOSE` or `NAME|SIGNATURE = SCORE (μ = MEAN ± HALF_WIDTH)
/// VERBOSE`, with `digits` behind the point, aligned at the equals sign, with a line feed at the end.
std::string to_text(std::span<const MetricReport> reports, int digits = 2);

/// One object, or an array of them when there are several: name, score, signature, confidence_mean,
/// confidence_var and confidence where there is one, verbose_score (BLEU only), then each part of the
/// signature. With a line feed at the end.
std::string to_json(std::span<const MetricReport> reports, int digits = 2);

/// One metric of two systems that were scored on the same resamples.
struct PairedReport {
  MetricReport baseline, system;
  double p_value = 1;  // metrics/confidence.h
};
template <class Score>
PairedReport compare(const Score& baseline, const Score& system) {
  return {.baseline = report(baseline),
          .system = report(system),
          .p_value = chorus::p_value(system.score - baseline.score, baseline.resampled, system.resampled)};
}

struct SystemNames {
  std::string baseline, system;
};
/// Returns text: for each metric `NAME|SIGNATURE` and a line each for the baseline and the system, `*` behind a
/// p-value of at most 0.05.
std::string to_text(std::span<const PairedReport> reports, const SystemNames& names, int digits = 2);
/// Returns JSON as sacreBLEU does: an array of two objects, `system` and for each metric score, p_value (of the
/// baseline null), mean and ci, whole; besides, each metric's signature.
std::string to_json(std::span<const PairedReport> reports, const SystemNames& names);

}  // namespace chorus::inline metrics
