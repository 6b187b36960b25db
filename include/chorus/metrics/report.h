// Scores as people and scripts read them: sacreBLEU's text and JSON forms.
#pragma once

#include <span>
#include <string>

#include "chorus/metrics/bleu.h"
#include "chorus/metrics/chrf.h"

namespace chorus {

/// What ends a signature: the sacreBLEU release whose figures these equal, and that it was chorus that
/// computed them.
inline constexpr std::string_view kMetricsVersion = "2.6.0+chorus";

struct MetricReport {
  std::string name;  // "BLEU", "chrF2", "chrF2++"
  double score = 0;  // printed with two digits
  std::string signature;
  std::string verbose;  // what text puts behind the score; may be empty
};

MetricReport report(const BleuScore& score);
MetricReport report(const ChrfScore& score);

/// One line each, `NAME|SIGNATURE = SCORE VERBOSE`, aligned at the equals sign, with a line feed at the end.
std::string to_text(std::span<const MetricReport> reports);

/// One object, or an array of them when there are several: name, score, signature, verbose_score (BLEU only),
/// then each part of the signature. With a line feed at the end.
std::string to_json(std::span<const MetricReport> reports);

}  // namespace chorus
