#include "decode/internal/search.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "base/error.h"

namespace chorus::inline decode {

Search::Search(size_t number, const DecodeInput& input, const DecodeOptions& options, int64_t max_positions)
    : number_(number), input_(&input), options_(&options) {
  const double longest = options.max_length_factor * static_cast<double>(input.source.size()) +
                         static_cast<double>(options.max_length_offset);
  // There is always room to choose one token.
  const auto least = static_cast<double>(input.forced.size() + 1);
  limit_ = static_cast<int64_t>(
      std::min(std::max(std::floor(longest), least), static_cast<double>(max_positions)));
}

void Search::force() {
  for (size_t i = 0; i < live_.size(); ++i) {
    live_[i].tokens.push_back(input_->forced[live_[i].tokens.size()]);
    live_[i].parent = i;
  }
}

std::vector<int32_t> Search::repeating(size_t i, int32_t start) const {
  const int64_t n = options_->no_repeat_ngram;
  std::vector<int32_t> read = {start};
  read.insert(read.end(), live_[i].tokens.begin(), live_[i].tokens.end());
  std::vector<int32_t> repeating;
  const auto last = read.end() - std::min(n - 1, std::ssize(read));
  for (auto from = read.begin(); read.end() - from >= n; ++from)
    if (std::equal(last, read.end(), from)) repeating.push_back(from[n - 1]);
  return repeating;
}

void Search::add_finished(std::vector<int32_t> tokens, double sum, bool ended) {
  const auto length = static_cast<double>(tokens.size() + (ended ? 1 : 0));
  if (input_->tagged) tokens.erase(tokens.begin());
  Hypothesis hypothesis = {.tokens = std::move(tokens),
                           .score = sum / std::pow(length, options_->length_penalty),
                           .log_probability = sum,
                           .ended = ended};
  const auto place = std::ranges::upper_bound(pool_, hypothesis.score, std::greater(), &Hypothesis::score);
  pool_.insert(place, std::move(hypothesis));
  if (std::cmp_greater(pool_.size(), options_->beam)) pool_.pop_back();
}

void Search::choose(std::span<const Candidate> candidates) {
  std::vector<std::pair<double, const Candidate*>> ranked;
  for (const Candidate& candidate : candidates) {
    if (std::isnan(candidate.log_probability))
      throw Error("the model's output is not a number: its weights are damaged or not finite");
    const double sum = live_[candidate.parent].log_probability + candidate.log_probability;
    if (std::isfinite(sum)) ranked.emplace_back(sum, &candidate);
  }
  const auto beam = static_cast<size_t>(options_->beam);
  const auto before = [](const auto& a, const auto& b) {
    return std::tie(b.first, a.second->parent, a.second->token) <
           std::tie(a.first, b.second->parent, b.second->token);
  };
  const size_t kept = std::min(2 * beam, ranked.size());
  std::ranges::partial_sort(ranked, ranked.begin() + static_cast<int64_t>(kept), before);
  ranked.resize(kept);

  const size_t length = live_.front().tokens.size() + 1;
  const bool last = std::cmp_greater_equal(length, limit_);
  std::vector<Live> next;
  for (size_t rank = 0; rank < ranked.size(); ++rank) {
    const auto& [sum, candidate] = ranked[rank];
    const Live& from = live_[candidate->parent];
    const bool ended = candidate->token == kEos;
    std::vector<int32_t> tokens = from.tokens;
    if (!ended) tokens.push_back(candidate->token);
    if (last || ended) {
      if (rank < beam) add_finished(std::move(tokens), sum, ended);
    } else if (next.size() < beam) {
      next.push_back({std::move(tokens), sum, candidate->parent});
    }
  }
  if (ranked.empty())
    for (Live& from : live_) add_finished(std::move(from.tokens), from.log_probability, false);
  live_ = std::move(next);
  done_ = live_.empty() ||
          (pool_.size() == beam &&
           live_.front().log_probability / std::pow(length, options_->length_penalty) <= pool_.back().score);
}

std::vector<Hypothesis> Search::take_best(int64_t count) {
  if (std::cmp_greater(pool_.size(), count)) pool_.resize(count);
  return std::move(pool_);
}

}  // namespace chorus::inline decode
