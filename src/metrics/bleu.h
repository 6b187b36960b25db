// BLEU as sacreBLEU 2 computes it: four orders, exponential smoothing; of a corpus without effective order.
//
//   BleuScore score = bleu(hypotheses, references);
//   fmt::print("{:.2f}\n", score.score);
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "metrics/tokenizer.h"

namespace chorus::inline metrics {

inline constexpr int kBleuOrder = 4;

struct BleuOptions {
  Tokenizer tokenizer = Tokenizer("13a");
  bool lowercase = false;        // compare without regard to case
  bool effective_order = false;  // only orders that the hypotheses are long enough for: for single sentences
  int64_t resamples = 0;         // of the lines, which are scored too: metrics/confidence.h
};

struct BleuScore {
  double score = 0;                          // 0 to 100
  std::array<int64_t, kBleuOrder> counts{};  // n-grams of the hypotheses that a reference has too, by order
  std::array<int64_t, kBleuOrder> totals{};  // n-grams of the hypotheses, by order
  std::array<double, kBleuOrder> precisions{};  // per cent, smoothed
  double brevity_penalty = 0;                   // 0 to 1
  int64_t sys_len = 0;                          // tokens of the hypotheses
  int64_t ref_len = 0;  // tokens of the references; of several, the one nearest in length to the hypothesis
  std::vector<double> resampled;  // the score of each resample
  std::string signature;          // what the figure depends on, as sacreBLEU writes it
};

/// BLEU of `hypotheses` against one reference each (Papineni et al. 2002; smoothing: Chen and Cherry 2014,
/// method 3). Error when there is no line, or not as many references as hypotheses. Bytes that are not UTF-8
/// are read as U+FFFD.
BleuScore bleu(std::span<const std::string> hypotheses, std::span<const std::string> references,
               const BleuOptions& options = {});

/// Scores against several references: references[r][i] belongs to hypotheses[i].
BleuScore bleu(std::span<const std::string> hypotheses, std::span<const std::vector<std::string>> references,
               const BleuOptions& options = {});

/// Does what expected_chrf() does, by the BLEU of single sentences: tokenizer 13a, effective order.
std::vector<double> expected_bleu(std::span<const std::string> lines);

}  // namespace chorus::inline metrics
