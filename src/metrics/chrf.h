// Corpus chrF and chrF++ as sacreBLEU 2 computes them: character n-grams up to order 6 without white space,
// beta 2.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace chorus::inline metrics {

struct ChrfOptions {
  int word_order = 0;      // 0: chrF; 2: chrF++, which also counts words and pairs of words
  bool lowercase = false;  // compare without regard to case
  int64_t resamples = 0;   // of the lines, which are scored too: metrics/confidence.h
};

struct ChrfScore {
  double score = 0;               // 0 to 100
  std::string name;               // "chrF2", "chrF2++"
  std::vector<double> resampled;  // the score of each resample
  std::string signature;          // what the figure depends on, as sacreBLEU writes it
};

/// chrF (Popović 2015, 2017) of `hypotheses` against one reference each. Precision and recall are averaged
/// over the orders that both sides have. Error when there is no line, or not as many references as
/// hypotheses. Bytes that are not UTF-8 are read as U+FFFD.
ChrfScore chrf(std::span<const std::string> hypotheses, std::span<const std::string> references,
               const ChrfOptions& options = {});

/// Scores against several references, of which each hypothesis counts the one it does best on: references[r][i]
/// belongs to hypotheses[i].
ChrfScore chrf(std::span<const std::string> hypotheses, std::span<const std::vector<std::string>> references,
               const ChrfOptions& options = {});

/// Returns for each line the mean of its chrF against every other one as its reference: what of several translations
/// of one source a translation may be expected to score (minimum Bayes risk decoding; Eikema and Aziz 2022). Each
/// pair's score is that of chrf() to the bit. Of a single line 0.
std::vector<double> expected_chrf(std::span<const std::string> lines);

}  // namespace chorus::inline metrics
