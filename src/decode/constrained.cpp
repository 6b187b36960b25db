#include "decode/internal/constrained.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <tuple>

namespace chorus::inline decode {

Phrases::Phrases(std::span<const std::vector<int32_t>> phrases) : phrases_(phrases) {
  for (const std::vector<int32_t>& phrase : phrases) tokens_ += phrase.size();
}

Phrases::State Phrases::after(const State& state, int32_t token) const {
  State next = state;
  next.tokens -= state.position;
  next.position = 0;
  std::vector<int32_t> begun;
  if (state.position > 0) {
    const std::vector<int32_t>& phrase = phrases_[state.phrase];
    begun.assign(phrase.begin(), phrase.begin() + static_cast<int64_t>(state.position));
  }
  begun.push_back(token);
  // The longest end of it that begins a phrase.
  for (size_t from = 0; from < begun.size(); ++from) {
    const std::span end = std::span(begun).subspan(from);
    for (size_t p = 0; p < phrases_.size(); ++p) {
      if (next.met[p] || end.size() > phrases_[p].size() ||
          !std::ranges::equal(end, std::span(phrases_[p]).first(end.size())))
        continue;
      next.tokens += end.size();
      next.phrase = p;
      next.met[p] = end.size() == phrases_[p].size();
      next.position = next.met[p] ? 0 : end.size();
      return next;
    }
  }
  return next;
}

std::vector<int32_t> Phrases::next(const State& state) const {
  if (state.position > 0) return {phrases_[state.phrase][state.position]};
  std::vector<int32_t> tokens;
  for (size_t p = 0; p < phrases_.size(); ++p)
    if (!state.met[p]) tokens.push_back(phrases_[p].front());
  return tokens;
}

std::vector<size_t> bank_sizes(size_t beam, std::span<const size_t> candidates) {
  const size_t banks = candidates.size();
  std::vector<size_t> sizes(banks, beam / banks);
  sizes.back() += beam % banks;
  for (size_t bank = banks; bank-- > 0;) {
    if (sizes[bank] <= candidates[bank]) continue;
    const size_t left = sizes[bank] - candidates[bank];
    sizes[bank] -= left;
    sizes[(bank + banks - 1) % banks] += left;
  }
  return sizes;
}

ConstrainedSearch::ConstrainedSearch(size_t number, const DecodeInput& input, const DecodeOptions& options,
                                     int64_t max_positions)
    : Search(number, input, options, max_positions), phrases_(input.phrases), states_{phrases_.start()} {
  for (size_t i = input.tagged ? 1 : 0; i < input.forced.size(); ++i)
    states_[0] = phrases_.after(states_[0], input.forced[i]);
}

std::vector<int32_t> ConstrainedSearch::banned(size_t i, int32_t start) const {
  std::vector<int32_t> tokens = Search::banned(i, start);
  const std::vector<int32_t> wanted = phrases_.next(states_[i]);
  std::erase_if(tokens, [&](int32_t token) { return std::ranges::find(wanted, token) != wanted.end(); });
  return tokens;
}

std::vector<std::vector<ConstrainedSearch::Ranked>> ConstrainedSearch::banks(const NextTokens& next) const {
  std::vector<Candidate> candidates = best_candidates(next, live().size());
  for (size_t i = 0; i < live().size(); ++i) {
    const std::span best(next.tokens + static_cast<int64_t>(i) * next.best, static_cast<size_t>(next.best));
    std::vector<int32_t> wanted = phrases_.next(states_[i]);
    std::ranges::sort(wanted);
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
    for (const int32_t token : wanted) {
      const double log_probability = next.log_probability(i, token);
      if (std::ranges::find(best, token) == best.end() && std::isfinite(log_probability))
        candidates.push_back({i, token, log_probability});
    }
  }
  std::vector<std::vector<Ranked>> banks(phrases_.tokens() + 1);
  for (const Candidate& candidate : candidates) {
    const Phrases::State& before = states_[candidate.parent];
    const bool ends = candidate.token == kEos;
    if (ends && before.tokens < phrases_.tokens()) continue;
    Ranked one = {candidate, ends ? before : phrases_.after(before, candidate.token),
                  live()[candidate.parent].log_probability + candidate.log_probability};
    banks[one.state.tokens].push_back(std::move(one));
  }
  for (std::vector<Ranked>& bank : banks) {
    std::ranges::sort(bank, [](const Ranked& a, const Ranked& b) {
      return std::tie(b.sum, a.candidate.parent, a.candidate.token) <
             std::tie(a.sum, b.candidate.parent, b.candidate.token);
    });
  }
  return banks;
}

void ConstrainedSearch::finish(Live hypothesis) {
  Hypothesis made = finished(std::move(hypothesis));
  const auto place = std::ranges::upper_bound(pool_, made.score, std::greater(), &Hypothesis::score);
  pool_.insert(place, std::move(made));
  if (std::cmp_greater(pool_.size(), options().beam)) pool_.pop_back();
}

void ConstrainedSearch::choose(const NextTokens& tokens) {
  const auto beam = static_cast<size_t>(options().beam);
  std::vector<std::vector<Ranked>> all = banks(tokens);
  std::vector<Ranked>& whole = all.back();
  for (size_t rank = 0; rank < std::min(beam, whole.size()); ++rank)
    if (is_last() || whole[rank].candidate.token == kEos) finish(extended(whole[rank].candidate));
  std::erase_if(whole, [](const Ranked& one) { return one.candidate.token == kEos; });

  std::vector<size_t> counts(all.size());
  std::ranges::transform(all, counts.begin(), &std::vector<Ranked>::size);
  const double divisor = std::pow(next_length(), options().length_penalty);
  // What has not met all its phrases goes on only while there is room for such as have.
  const bool full =
      pool_.size() == beam && (whole.empty() || whole.front().sum / divisor <= pool_.back().score);
  std::vector<Live> next;
  std::vector<Phrases::State> states;
  if (!is_last() && !full) {
    const std::vector<size_t> sizes = bank_sizes(beam, counts);
    for (size_t bank = all.size(); bank-- > 0;) {
      for (size_t rank = 0; rank < std::min(sizes[bank], all[bank].size()); ++rank) {
        next.push_back(extended(all[bank][rank].candidate));
        states.push_back(std::move(all[bank][rank].state));
      }
    }
  }
  // Where nothing may come next: what there is.
  if (next.empty() && pool_.empty())
    for (const Live& from : live()) finish(from);
  states_ = std::move(states);
  go_on_with(std::move(next));
}

std::vector<Hypothesis> ConstrainedSearch::take() {
  if (std::cmp_greater(pool_.size(), options().nbest)) pool_.resize(options().nbest);
  return std::move(pool_);
}

}  // namespace chorus::inline decode
