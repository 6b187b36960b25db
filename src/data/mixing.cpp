#include "data/mixing.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/error.h"

namespace chorus::inline data {
namespace {

// Rounds shares that sum to `total` to integers of the same sum by largest remainder, none below 1 but those
// of 0.
std::vector<int64_t> round_shares(const std::vector<double>& shares, int64_t total) {
  std::vector<int64_t> counts(shares.size());
  std::vector<size_t> order(shares.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] == 0) continue;
    counts[i] = std::max<int64_t>(1, static_cast<int64_t>(std::floor(shares[i])));
    total -= counts[i];
  }
  std::erase_if(order, [&](size_t i) { return shares[i] == 0; });
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return shares[a] - static_cast<double>(counts[a]) > shares[b] - static_cast<double>(counts[b]);
  });
  for (size_t i = 0; total > 0; i = (i + 1) % order.size(), --total) ++counts[order[i]];
  // The parts that were raised to 1 are paid for by the largest.
  while (total < 0) {
    auto& largest = *std::max_element(counts.begin(), counts.end());
    if (largest == 1) break;
    const int64_t paid = std::min(-total, largest - 1);
    largest -= paid;
    total += paid;
  }
  return counts;
}

}  // namespace

Mixing::Mixing(const std::vector<DataSet::Part>& parts, double temperature, uint64_t seed)
    : key_(RandomKey(seed).derive("mixing")) {
  if (!(temperature >= 1)) throw UserError("data.temperature must be 1 or more, not {}", temperature);
  if (parts.empty()) throw UserError("there is no training text: give at least one [[data.train]]");
  std::map<int32_t, double> of_direction;
  double total = 0;
  for (const auto& part : parts) {
    if (part.weight > 0) of_direction[part.direction] += static_cast<double>(part.examples);
    total += static_cast<double>(part.examples);
  }
  std::vector<double> shares;
  for (const auto& part : parts) {
    const double n = of_direction[part.direction];
    shares.push_back(part.weight > 0 ? part.weight * static_cast<double>(part.examples) *
                                           std::pow(n / total, 1 / temperature - 1)
                                     : 0);
    examples_.push_back(part.examples);
  }
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) share *= total / sum;
  first_.push_back(0);
  for (const int64_t count : round_shares(shares, static_cast<int64_t>(total)))
    first_.push_back(first_.back() + count);
}

Draw Mixing::draw(int64_t epoch, int64_t position) const {
  const auto slot =
      static_cast<int64_t>(permute(key_.derive("order").derive(epoch), position, draws_per_epoch()));
  const int64_t part = std::upper_bound(first_.begin(), first_.end(), slot) - first_.begin() - 1;
  const int64_t drawn = epoch * draws(part) + slot - first_[part];  // of this part since the start of the run
  const RandomKey cycle = key_.derive("examples").derive(part).derive(drawn / examples_[part]);
  return {.part = part,
          .example = static_cast<int64_t>(permute(cycle, drawn % examples_[part], examples_[part]))};
}

}  // namespace chorus::inline data
