#include "chorus/metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "chorus/metrics/report.h"

#include "metrics/ngrams.h"
#include "metrics/references.h"
#include "metrics/text.h"

namespace chorus {
namespace {

// Of the lengths nearest to the hypothesis' the smallest.
size_t closest_length(std::span<const std::vector<uint32_t>> sequences) {
  const auto distance = [&](const auto& reference) {
    return std::abs(static_cast<int64_t>(reference.size()) - static_cast<int64_t>(sequences[0].size()));
  };
  const auto closest =
      std::min_element(sequences.begin() + 1, sequences.end(), [&](const auto& a, const auto& b) {
        return std::pair(distance(a), a.size()) < std::pair(distance(b), b.size());
      });
  return closest->size();
}

// From the counts to the score.
void finish(BleuScore& bleu) {
  const double sys_len = static_cast<double>(bleu.sys_len), ref_len = static_cast<double>(bleu.ref_len);
  bleu.brevity_penalty = 1;
  if (sys_len < ref_len) bleu.brevity_penalty = sys_len > 0 ? std::exp(1 - ref_len / sys_len) : 0;
  if (std::all_of(bleu.counts.begin(), bleu.counts.end(), [](int64_t count) { return count == 0; })) return;

  double smoothing = 1, sum_of_logarithms = 0;
  for (int n = 0; n < kBleuOrder; ++n) {
    if (bleu.totals[n] == 0) return;  // no hypothesis is that long: the product is 0
    double count = static_cast<double>(bleu.counts[n]);
    if (bleu.counts[n] == 0) count = 1 / (smoothing *= 2);
    bleu.precisions[n] = 100 * count / static_cast<double>(bleu.totals[n]);
    sum_of_logarithms += std::log(bleu.precisions[n]);
  }
  bleu.score = bleu.brevity_penalty * std::exp(sum_of_logarithms / kBleuOrder);
}

BleuScore corpus_bleu(std::span<const std::string> hypotheses, const metrics::References& references,
                      const BleuOptions& options) {
  metrics::check_lines(hypotheses.size(), references);
  BleuScore score;
  metrics::WordIds ids;
  metrics::NgramOverlap overlap;
  std::vector<std::vector<uint32_t>> sequences(1 + references.size());
  const auto tokens = [&](const std::string& line) {
    return ids(options.tokenizer(options.lowercase ? metrics::lower(line) : line));
  };
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    sequences[0] = tokens(hypotheses[i]);
    for (size_t r = 0; r < references.size(); ++r) sequences[r + 1] = tokens(references[r][i]);
    overlap.count(sequences, kBleuOrder);
    for (int order = 1; order <= kBleuOrder; ++order) {
      score.counts[order - 1] += overlap.matches_any(order);
      score.totals[order - 1] += metrics::ngrams_of(sequences[0].size(), order);
    }
    score.sys_len += static_cast<int64_t>(sequences[0].size());
    score.ref_len += static_cast<int64_t>(closest_length(sequences));
  }
  finish(score);
  score.signature =
      fmt::format("nrefs:{}|case:{}|eff:no|tok:{}|smooth:exp|version:{}", references.size(),
                  options.lowercase ? "lc" : "mixed", options.tokenizer.name(), kMetricsVersion);
  return score;
}

}  // namespace

BleuScore bleu(std::span<const std::string> hypotheses, std::span<const std::string> references,
               const BleuOptions& options) {
  return corpus_bleu(hypotheses, metrics::one_reference(references), options);
}

BleuScore bleu(std::span<const std::string> hypotheses, std::span<const std::vector<std::string>> references,
               const BleuOptions& options) {
  return corpus_bleu(hypotheses, metrics::several_references(references), options);
}

}  // namespace chorus
