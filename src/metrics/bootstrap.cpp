#include "metrics/internal/bootstrap.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"
#include "metrics/confidence.h"

namespace chorus::inline metrics {

uint32_t Pcg64::next() {
  if (half_) {
    const uint32_t half = *half_;
    half_.reset();
    return half;
  }
  constexpr Uint128 kMultiplier = uint128(0x2360ed051fc65da4, 0x4385df649fccf645);
  state_ = state_ * kMultiplier + kIncrement;
  const auto high = static_cast<uint64_t>(state_ >> 64), low = static_cast<uint64_t>(state_);
  const uint64_t bits = std::rotr(high ^ low, static_cast<int>(high >> 58));
  half_ = static_cast<uint32_t>(bits >> 32);
  return static_cast<uint32_t>(bits);
}

uint32_t Pcg64::below(uint32_t bound) {
  if (bound == 1) return 0;  // without a draw
  uint64_t product = uint64_t{next()} * bound;
  if (static_cast<uint32_t>(product) < bound) {
    const uint32_t threshold = (0U - bound) % bound;
    while (static_cast<uint32_t>(product) < threshold) product = uint64_t{next()} * bound;
  }
  return static_cast<uint32_t>(product >> 32);
}

std::string resampling_signature(int64_t samples) {
  return samples > 0 ? fmt::format("|bs:{}|seed:{}", samples, kResampleSeed) : "";
}

Confidence confidence(std::span<const double> resampled) {
  if (resampled.empty()) throw Error("an interval needs resamples");
  std::vector<double> scores(resampled.begin(), resampled.end());
  std::ranges::sort(scores);
  const size_t out = scores.size() / 40;  // at either end
  const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
  return {.mean = sum / static_cast<double>(scores.size()),
          .half_width = 0.5 * (scores[scores.size() - out - 1] - scores[out])};
}

double p_value(double difference, std::span<const double> a, std::span<const double> b) {
  if (a.size() != b.size() || a.empty())
    throw Error("a paired test needs the same resamples of both systems");
  std::vector<double> differences;
  for (size_t i = 0; i < a.size(); ++i) differences.push_back(std::abs(a[i] - b[i]));
  const double mean =
      std::accumulate(differences.begin(), differences.end(), 0.0) / static_cast<double>(differences.size());
  const auto larger =
      std::ranges::count_if(differences, [&](double d) { return d - mean > std::abs(difference); });
  return static_cast<double>(larger + 1) / static_cast<double>(differences.size() + 1);
}

}  // namespace chorus::inline metrics
