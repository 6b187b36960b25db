#include "model/internal/routing_shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/random.h"
#include "kernels/routing.h"

namespace chorus::inline model {

namespace {

/// How unequal the experts' shares are.
double spread_of(int64_t experts) {
  return std::min(1.5, std::log2(static_cast<double>(experts)) / 4);
}

/// The z with a share p of the normal distribution below it (Acklam's approximation of its middle, to 1e-2 at
/// the ends of a thousand experts).
double normal_quantile(double p) {
  const double t = std::sqrt(-2 * std::log(std::min(p, 1 - p)));
  const double z =
      t - (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
  return p < 0.5 ? -z : z;
}

/// Probability that a token chooses each expert, most chosen first; they sum up to k.
std::vector<double> chosen(int64_t experts, int64_t k) {
  std::vector<double> weights(experts);
  for (int64_t e = 0; e < experts; ++e) {
    const double quantile = (static_cast<double>(e) + 0.5) / static_cast<double>(experts);
    weights[e] = std::exp(-spread_of(experts) * normal_quantile(quantile));
  }
  // Drawn without replacement: 1 - exp(-weight x), with the x that makes k of them.
  const auto sum_for = [&](double x) {
    return std::transform_reduce(weights.begin(), weights.end(), 0.0, std::plus(),
                                 [&](double w) { return -std::expm1(-w * x); });
  };
  double low = 0, high = 1;
  const auto wanted = static_cast<double>(k);
  if (k == experts) return std::vector<double>(experts, 1.0);
  if (k == 1) {  // drawn once
    const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
    for (double& w : weights) w /= sum;
    return weights;
  }
  while (sum_for(high) < wanted) high *= 2;
  for (int i = 0; i < 50; ++i) {
    const double middle = (low + high) / 2;
    (sum_for(middle) < wanted ? low : high) = middle;
  }
  for (double& w : weights) w = -std::expm1(-w * high);
  return weights;
}

/// The largest sum over `layers` layers of what a rank's experts have, of the mean: the mean over shuffles.
double busiest(const std::vector<double>& loads, int ranks, int64_t layers) {
  constexpr int kShuffles = 8;
  const size_t each = loads.size() / ranks;
  const RandomKey key = RandomKey(1).derive("routing of a plan");
  const double mean = std::accumulate(loads.begin(), loads.end(), 0.0) / ranks * static_cast<double>(layers);
  double sum = 0;
  for (int shuffle = 0; shuffle < kShuffles; ++shuffle) {
    std::vector<double> of_rank(ranks);
    for (int64_t layer = 0; layer < layers; ++layer) {
      const RandomKey own = key.derive(static_cast<uint64_t>(shuffle)).derive(static_cast<uint64_t>(layer));
      for (size_t e = 0; e < loads.size(); ++e) of_rank[permute(own, e, loads.size()) / each] += loads[e];
    }
    sum += *std::ranges::max_element(of_rank);
  }
  return sum / kShuffles / mean;
}

RoutingShares typical(int64_t experts, int64_t k, double capacity, int ranks, int64_t layers) {
  std::vector<double> loads = chosen(experts, k);
  for (double& load : loads) load = std::min(load, capacity);
  const double kept = std::accumulate(loads.begin(), loads.end(), 0.0) / static_cast<double>(k);
  return {.kept = kept, .load = ranks == 1 ? kept : kept * busiest(loads, ranks, layers)};
}

}  // namespace

RoutingShares routing_shares(const StepShape& job, int64_t number, int64_t tokens) {
  const MoeConfig& moe = job.model.moe;
  const std::vector<int64_t> counts = job.model.expert_counts();
  const int64_t experts = counts[number];
  const auto n = static_cast<double>(tokens), k = static_cast<double>(moe.top_k);
  // Of the tokens, what an expert takes at most.
  const double capacity =
      moe.capacity_factor == 0
          ? 1.0
          : std::min(
                1.0,
                static_cast<double>(expert_capacity(moe.capacity_factor, moe.top_k, tokens, experts)) / n);
  const double most = capacity * static_cast<double>(experts) / k;  // of the mean
  RoutingShares shares = {.kept = std::min(1.0, most), .load = std::min<double>(job.mesh.ep, most)};
  if (std::cmp_less(number, job.skew.size())) {
    shares.load = std::min(shares.load, job.skew[number]);
  } else if (job.memory_case == MemoryCase::typical) {
    shares = typical(experts, moe.top_k, capacity, job.mesh.ep, job.recompute ? 1 : std::ssize(counts));
  }
  return shares;
}

}  // namespace chorus::inline model
