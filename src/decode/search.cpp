#include "decode/internal/search.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <set>
#include <tuple>

#include "base/error.h"

namespace chorus::inline decode {

void fail_not_a_number() {
  throw Error("the model's output is not a number: its weights are damaged or not finite");
}

int64_t longest_translation(const DecodeInput& input, const DecodeOptions& options, int64_t max_positions) {
  const double longest = options.max_length_factor * static_cast<double>(input.source.size()) +
                         static_cast<double>(options.max_length_offset);
  const auto least = static_cast<double>(input.forced.size() + 1);
  return static_cast<int64_t>(
      std::min(std::max(std::floor(longest), least), static_cast<double>(max_positions)));
}

Search::Search(size_t number, const DecodeInput& input, const DecodeOptions& options, int64_t max_positions)
    : number_(number),
      input_(&input),
      options_(&options),
      limit_(longest_translation(input, options, max_positions)) {}

void Search::force() {
  for (size_t i = 0; i < live_.size(); ++i) {
    live_[i].tokens.push_back(input_->forced[live_[i].tokens.size()]);
    live_[i].log_probabilities.push_back(std::nanf(""));
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

void Search::go_on_with(std::vector<Live> live) {
  live_ = std::move(live);
  parted_ = true;
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
      if (std::isnan(log_probability)) fail_not_a_number();
      if (std::isfinite(log_probability))
        candidates.push_back({i, static_cast<int32_t>(next.tokens[at]), log_probability});
    }
  }
  return candidates;
}

BeamSearch::BeamSearch(size_t number, const DecodeInput& input, const DecodeOptions& options,
                       int64_t max_positions)
    : Search(number, input, options, max_positions),
      width_(static_cast<size_t>(options.beam / groups_of(options))),
      pools_(static_cast<size_t>(groups_of(options))) {}

void BeamSearch::finish(Live hypothesis, size_t lane) {
  std::vector<Finished>& pool = pools_[lane];
  const double score = (hypothesis.log_probability - hypothesis.penalty) /
                       std::pow(hypothesis.tokens.size(), options().length_penalty);
  const auto place = std::ranges::upper_bound(pool, score, std::greater(), &Finished::score);
  pool.insert(place, {score, finished(std::move(hypothesis))});
  if (pool.size() > width_) pool.pop_back();
}

std::vector<BeamSearch::Ranked> BeamSearch::ranked(std::span<const Candidate> candidates, size_t lane,
                                                   const Chosen& chosen) const {
  std::vector<Ranked> ranked;
  for (const Candidate& candidate : candidates) {
    if (!is_of(lane, candidate.parent)) continue;
    const Live& from = live()[candidate.parent];
    double penalty = from.penalty;
    if (const auto found = chosen.find(candidate.token); found != chosen.end())
      penalty += options().diversity * static_cast<double>(found->second);
    ranked.push_back({candidate, from.log_probability + candidate.log_probability - penalty, penalty});
  }
  const auto before = [](const Ranked& a, const Ranked& b) {
    return std::tie(b.sum, a.candidate.parent, a.candidate.token) <
           std::tie(a.sum, b.candidate.parent, b.candidate.token);
  };
  const size_t kept = std::min(2 * width_, ranked.size());
  std::ranges::partial_sort(ranked, ranked.begin() + static_cast<int64_t>(kept), before);
  ranked.resize(kept);
  return ranked;
}

std::vector<Search::Live> BeamSearch::go_on(std::span<const Candidate> candidates, size_t lane,
                                            Chosen& chosen) {
  const std::vector<Ranked> best = ranked(candidates, lane, chosen);
  std::vector<Live> next;
  for (size_t rank = 0; rank < best.size(); ++rank) {
    Live one = extended(best[rank].candidate);
    one.lane = lane;
    one.penalty = best[rank].penalty;
    if (is_last() || best[rank].candidate.token == kEos) {
      if (rank < width_) finish(std::move(one), lane);
    } else if (next.size() < width_) {
      next.push_back(std::move(one));
    }
  }
  if (best.empty())
    for (size_t i = 0; i < live().size(); ++i)
      if (is_of(lane, i)) finish(live()[i], lane);
  for (const Live& one : next) ++chosen[one.tokens.back()];
  if (next.empty() || pools_[lane].size() < width_) return next;
  const double divisor = std::pow(next_length(), options().length_penalty);
  if ((next.front().log_probability - next.front().penalty) / divisor <= pools_[lane].back().score)
    next.clear();
  return next;
}

void BeamSearch::choose(const NextTokens& tokens) {
  const std::vector<Candidate> candidates = best_candidates(tokens, live().size());
  std::vector<Live> next;
  Chosen chosen;
  for (size_t lane = 0; lane < pools_.size(); ++lane) {
    std::vector<Live> of_lane = go_on(candidates, lane, chosen);
    std::ranges::move(of_lane, std::back_inserter(next));
  }
  go_on_with(std::move(next));
}

std::vector<Hypothesis> BeamSearch::take() {
  std::vector<Hypothesis> best;
  std::set<std::vector<int32_t>> seen;  // several lanes may have found the same
  for (std::vector<Finished>& pool : pools_) {
    for (Finished& one : pool)
      if (pools_.size() == 1 || seen.insert(one.hypothesis.tokens).second)
        best.push_back(std::move(one.hypothesis));
  }
  std::ranges::stable_sort(best, std::greater(), &Hypothesis::score);
  if (std::cmp_greater(best.size(), options().nbest)) best.resize(options().nbest);
  return best;
}

}  // namespace chorus::inline decode
