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
    live_[i].log_probabilities.push_back(0);
    live_[i].parent = i;
  }
}

std::vector<int32_t> Search::banned(size_t i, int32_t start) const {
  std::vector<int32_t> tokens;
  if (options_->no_repeat_ngram > 0) add_repeating(i, start, tokens);
  if (std::cmp_less(next_length(), options_->min_length)) tokens.push_back(kEos);
  return tokens;
}

void Search::add_repeating(size_t i, int32_t start, std::vector<int32_t>& tokens) const {
  const int64_t n = options_->no_repeat_ngram;
  std::vector<int32_t> read = {start};
  read.insert(read.end(), live_[i].tokens.begin(), live_[i].tokens.end());
  const auto last = read.end() - std::min(n - 1, std::ssize(read));
  for (auto from = read.begin(); read.end() - from >= n; ++from)
    if (std::equal(last, read.end(), from)) tokens.push_back(from[n - 1]);
}

Search::Live Search::extended(const Candidate& candidate) const {
  Live next = live_[candidate.parent];
  next.tokens.push_back(candidate.token);
  next.log_probabilities.push_back(static_cast<float>(candidate.log_probability));
  next.log_probability += candidate.log_probability;
  next.parent = candidate.parent;
  return next;
}

Hypothesis Search::finished(Live hypothesis) const {
  const auto length = static_cast<double>(hypothesis.tokens.size());
  const bool ended = hypothesis.tokens.size() > input_->forced.size() && hypothesis.tokens.back() == kEos;
  if (ended) hypothesis.tokens.pop_back();
  if (input_->tagged) {
    hypothesis.tokens.erase(hypothesis.tokens.begin());
    hypothesis.log_probabilities.erase(hypothesis.log_probabilities.begin());
  }
  return {.tokens = std::move(hypothesis.tokens),
          .log_probabilities = std::move(hypothesis.log_probabilities),
          .score = hypothesis.log_probability / std::pow(length, options_->length_penalty),
          .log_probability = hypothesis.log_probability,
          .ended = ended};
}

std::vector<Search::Candidate> best_candidates(const NextTokens& next, size_t hypotheses) {
  std::vector<Search::Candidate> candidates;
  for (size_t i = 0; i < hypotheses; ++i) {
    for (int64_t j = 0; j < next.best; ++j) {
      const int64_t at = static_cast<int64_t>(i) * next.best + j;
      const double log_probability = next.log_probabilities[at];
      if (std::isnan(log_probability))
        throw Error("the model's output is not a number: its weights are damaged or not finite");
      if (std::isfinite(log_probability))
        candidates.push_back({i, static_cast<int32_t>(next.tokens[at]), log_probability});
    }
  }
  return candidates;
}

void BeamSearch::finish(Live hypothesis) {
  Hypothesis made = finished(std::move(hypothesis));
  const auto place = std::ranges::upper_bound(pool_, made.score, std::greater(), &Hypothesis::score);
  pool_.insert(place, std::move(made));
  if (std::cmp_greater(pool_.size(), options().beam)) pool_.pop_back();
}

void BeamSearch::choose(const NextTokens& tokens) {
  const std::vector<Candidate> candidates = best_candidates(tokens, live().size());
  std::vector<std::pair<double, const Candidate*>> ranked;
  for (const Candidate& candidate : candidates)
    ranked.emplace_back(live()[candidate.parent].log_probability + candidate.log_probability, &candidate);
  const auto beam = static_cast<size_t>(options().beam);
  const auto before = [](const auto& a, const auto& b) {
    return std::tie(b.first, a.second->parent, a.second->token) <
           std::tie(a.first, b.second->parent, b.second->token);
  };
  const size_t kept = std::min(2 * beam, ranked.size());
  std::ranges::partial_sort(ranked, ranked.begin() + static_cast<int64_t>(kept), before);
  ranked.resize(kept);

  const double divisor = std::pow(next_length(), options().length_penalty);
  std::vector<Live> next;
  for (size_t rank = 0; rank < ranked.size(); ++rank) {
    const Candidate& candidate = *ranked[rank].second;
    if (is_last() || candidate.token == kEos) {
      if (rank < beam) finish(extended(candidate));
    } else if (next.size() < beam) {
      next.push_back(extended(candidate));
    }
  }
  if (ranked.empty())
    for (const Live& from : live()) finish(from);
  if (!next.empty() && pool_.size() == beam && next.front().log_probability / divisor <= pool_.back().score)
    next.clear();
  go_on_with(std::move(next));
}

std::vector<Hypothesis> BeamSearch::take() {
  if (std::cmp_greater(pool_.size(), options().nbest)) pool_.resize(options().nbest);
  return std::move(pool_);
}

}  // namespace chorus::inline decode
