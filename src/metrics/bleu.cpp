#include "metrics/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "metrics/report.h"

#include "metrics/internal/bootstrap.h"
#include "metrics/internal/ngrams.h"
#include "metrics/internal/references.h"
#include "metrics/internal/text.h"

namespace chorus::inline metrics {
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

// From the counts to the score. sacreBLEU works in fp32 on resamples.
template <class Real>
void finish(BleuScore& bleu, bool effective_order) {
  const double sys_len = static_cast<double>(bleu.sys_len), ref_len = static_cast<double>(bleu.ref_len);
  bleu.brevity_penalty = 1;
  if (sys_len < ref_len) bleu.brevity_penalty = sys_len > 0 ? std::exp(1 - ref_len / sys_len) : 0;
  if (std::all_of(bleu.counts.begin(), bleu.counts.end(), [](int64_t count) { return count == 0; })) return;

  Real smoothing = 1;
  double sum_of_logarithms = 0;
  int orders = 0;
  for (int n = 0; n < kBleuOrder; ++n) {
    if (bleu.totals[n] == 0 && effective_order) break;
    if (bleu.totals[n] == 0) return;  // no hypothesis is that long: the product is 0
    const auto count = static_cast<Real>(bleu.counts[n]), total = static_cast<Real>(bleu.totals[n]);
    bleu.precisions[n] = bleu.counts[n] == 0 ? 100 / ((smoothing *= 2) * total) : 100 * count / total;
    sum_of_logarithms += std::log(bleu.precisions[n]);
    ++orders;
  }
  bleu.score = bleu.brevity_penalty * std::exp(sum_of_logarithms / orders);
}

// Of one line, or of lines summed up.
constexpr size_t kStatistics = 2 + 2 * kBleuOrder;

double score_of(std::span<const float> statistics, bool effective_order) {
  BleuScore bleu;
  bleu.sys_len = std::llround(statistics[0]);
  bleu.ref_len = std::llround(statistics[1]);
  for (int n = 0; n < kBleuOrder; ++n) {
    bleu.counts[n] = std::llround(statistics[2 + n]);
    bleu.totals[n] = std::llround(statistics[2 + kBleuOrder + n]);
  }
  finish<float>(bleu, effective_order);
  return bleu.score;
}

BleuScore corpus_bleu(std::span<const std::string> hypotheses, const metrics::References& references,
                      const BleuOptions& options) {
  metrics::check_lines(hypotheses.size(), references);
  BleuScore score;
  metrics::WordIds ids;
  metrics::NgramOverlap overlap;
  std::vector<std::vector<uint32_t>> sequences(1 + references.size());
  std::vector<float> statistics;  // [lines, kStatistics], for resampling
  const auto tokens = [&](const std::string& line) {
    return ids(options.tokenizer(options.lowercase ? metrics::lower(line) : line));
  };
  for (size_t i = 0; i < hypotheses.size(); ++i) {
    sequences[0] = tokens(hypotheses[i]);
    for (size_t r = 0; r < references.size(); ++r) sequences[r + 1] = tokens(references[r][i]);
    overlap.count(sequences, kBleuOrder);
    const auto sys_len = static_cast<int64_t>(sequences[0].size()),
               ref_len = static_cast<int64_t>(closest_length(sequences));
    score.sys_len += sys_len;
    score.ref_len += ref_len;
    std::array<int64_t, kStatistics> line = {sys_len, ref_len};
    for (int n = 0; n < kBleuOrder; ++n) {
      score.counts[n] += line[2 + n] = overlap.matches_any(n + 1);
      score.totals[n] += line[2 + kBleuOrder + n] = metrics::ngrams_of(sequences[0].size(), n + 1);
    }
    if (options.resamples > 0) statistics.insert(statistics.end(), line.begin(), line.end());
  }
  finish<double>(score, options.effective_order);
  score.resampled =
      metrics::resample(statistics, kStatistics, options.resamples,
                        [&](std::span<const float> sums) { return score_of(sums, options.effective_order); });
  score.signature =
      fmt::format("nrefs:{}{}|case:{}|eff:{}|tok:{}|smooth:exp|version:{}", references.size(),
                  metrics::resampling_signature(options.resamples), options.lowercase ? "lc" : "mixed",
                  options.effective_order ? "yes" : "no", options.tokenizer.name(), kMetricsVersion);
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

std::vector<double> expected_bleu(std::span<const std::string> lines) {
  const BleuOptions options = {.effective_order = true};
  metrics::WordIds ids;
  std::vector<std::vector<uint32_t>> words;
  for (const std::string& line : lines) words.push_back(ids(options.tokenizer(line)));
  const metrics::NgramPairs pairs(words, kBleuOrder);
  return metrics::mean_over_others(lines.size(), [&](size_t hypothesis, size_t reference) {
    BleuScore score;
    score.sys_len = static_cast<int64_t>(words[hypothesis].size());
    score.ref_len = static_cast<int64_t>(words[reference].size());
    for (int n = 0; n < kBleuOrder; ++n) {
      score.counts[n] =
          pairs.matches(n + 1, std::min(hypothesis, reference), std::max(hypothesis, reference));
      score.totals[n] = metrics::ngrams_of(words[hypothesis].size(), n + 1);
    }
    finish<double>(score, options.effective_order);
    return score.score;
  });
}

}  // namespace chorus::inline metrics
