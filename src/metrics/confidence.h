// How far a corpus score may be trusted: bootstrap resampling (Koehn 2004) as sacreBLEU 2 does it, on the
// very resamples that sacreBLEU draws by default.
//
//   const BleuScore a = bleu(hypotheses, references, {.resamples = 1000}), b = bleu(others, references, ...);
//   confidence(a.resampled);                              // mean and half of the 95 % interval
//   p_value(a.score - b.score, a.resampled, b.resampled); // paired test: do the systems differ?
#pragma once

#include <cstdint>
#include <span>

namespace chorus::inline metrics {

/// SACREBLEU_SEED where it is not set. All scores of as many lines see the same resamples.
inline constexpr int64_t kResampleSeed = 12345;
inline constexpr int64_t kResamples = 1000;  // by default

struct Confidence {
  double mean = 0, half_width = 0;  // of the interval that holds 95 % of the resamples
};
/// Error when there is no resample.
Confidence confidence(std::span<const double> resampled);

/// The probability of a difference as large as `difference` if both systems were equally good, of the scores
/// of two systems on the same resamples (paired bootstrap). Error unless there are as many of each, and some.
double p_value(double difference, std::span<const double> a, std::span<const double> b);

}  // namespace chorus::inline metrics
