// Resamples of a corpus, of which the lines are drawn as numpy's default_rng(12345).choice(lines,
// size=(samples, lines)) draws them: those that sacreBLEU looks at.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace chorus::inline metrics {

__extension__ using Uint128 = unsigned __int128;
constexpr Uint128 uint128(uint64_t high, uint64_t low) {
  return (Uint128{high} << 64) | low;
}

/// numpy's PCG64 (PCG XSL RR 128/64, O'Neill 2014), seeded with kResampleSeed.
class Pcg64 {
 public:
  /// Uniform below `bound` (Lemire 2019), from 32 bits at a time.
  uint32_t below(uint32_t bound);

 private:
  uint32_t next();

  // What numpy's SeedSequence(12345) makes of the seed.
  Uint128 state_ = uint128(0x1905e0335aae9634, 0x9199b0d09775add5);
  static constexpr Uint128 kIncrement = uint128(0xc9c7353e6e2b1f28, 0x7d761f2d4027fae7);
  std::optional<uint32_t> half_;  // of the last 64 bits, not yet given out
};

/// Its part of a signature, "|bs:1000|seed:12345", if there is any.
std::string resampling_signature(int64_t samples);

/// The score of each of `samples` resamples. `statistics` [lines, width] of each line are summed up in fp32,
/// as sacreBLEU does; score(sums) makes a score of them.
template <class Score>
std::vector<double> resample(std::span<const float> statistics, size_t width, int64_t samples,
                             const Score& score) {
  const size_t lines = statistics.size() / width;
  Pcg64 random;
  std::vector<double> scores;
  std::vector<float> sums(width);
  for (int64_t s = 0; s < samples; ++s) {
    sums.assign(width, 0);
    for (size_t i = 0; i < lines; ++i) {
      const float* line = &statistics[random.below(static_cast<uint32_t>(lines)) * width];
      for (size_t k = 0; k < width; ++k) sums[k] += line[k];
    }
    scores.push_back(score(sums));
  }
  return scores;
}

}  // namespace chorus::inline metrics
