// Beam search without a cache, without batches, straight from its definition.
#pragma once

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>

#include "decode/fixtures.h"

namespace chorus {

/// log p of every next token, computed from nothing but the tokens so far: no cache, no batch.
class PlainModel {
 public:
  PlainModel(Transformer& model, const DecodeInput& input)
      : model_(make_step_decoder(model)), candidates_(input.candidates) {
    memory_ = model_->encode(model_->make_side(input.source, 1, std::ssize(input.source)));
  }
  std::vector<double> operator()(const std::vector<int32_t>& tokens) {
    const auto decoding = model_->start(memory_, {}, std::ssize(tokens) + 1);
    at::Tensor logits = step(*decoding, kEos);
    for (const int32_t token : tokens) logits = step(*decoding, token);
    for (int32_t token = 0; token < logits.size(1); ++token)
      if (!candidates_.column(token)) logits[0][token].fill_(-INFINITY);
    total_ = at::logsumexp(logits, -1).item<double>();
    const at::Tensor log_p = at::log_softmax(logits, -1);
    return {log_p.const_data_ptr<float>(), log_p.const_data_ptr<float>() + log_p.numel()};
  }
  /// What the last log p are the logits less of.
  [[nodiscard]] double total() const { return total_; }

 private:
  at::Tensor step(Decoding& decoding, int32_t token) const {
    return decoding.step(at::full({1}, token, memory_.options().dtype(at::kLong))).cpu();
  }
  std::unique_ptr<const StepDecoder> model_;
  Candidates candidates_;
  at::Tensor memory_;
  double total_ = 0;
};

struct PlainResult {
  std::vector<int32_t> tokens;  // after </s>, tag included, </s> at the end where it ended
  double score = 0;
};

/// The last tokens of the n-grams of `read` whose first n - 1 tokens are those that `read` ends with.
inline std::set<int32_t> plainly_repeating(const std::vector<int32_t>& read, size_t n) {
  std::map<std::vector<int32_t>, std::set<int32_t>> follows;
  for (size_t i = 0; i + n <= read.size(); ++i)
    follows[{read.begin() + i, read.begin() + i + n - 1}].insert(read[i + n - 1]);
  if (read.size() + 1 < n) return {};
  return follows[{read.end() - n + 1, read.end()}];
}

/// Beam search as transformers' _beam_search lays it out: a fixed number of running beams, all but the first
/// at -1e9 in the beginning, tag forced by a score of zero.
inline std::vector<PlainResult> plain_search(Transformer& model, const DecodeInput& input,
                                             const DecodeOptions& options, int64_t limit) {
  constexpr double kNever = -1e9;
  PlainModel plain(model, input);
  const auto beam = static_cast<size_t>(options.beam);
  std::vector<PlainResult> running(beam, {{}, kNever}), finished(beam, {{}, kNever});
  running[0].score = 0;
  for (int64_t length = 1;; ++length) {
    std::vector<PlainResult> continuations;
    for (const PlainResult& from : running) {
      std::vector<double> log_p = plain(from.tokens);
      std::set<int32_t> known = {kEos};
      known.insert(from.tokens.begin(), from.tokens.end());
      const double zero = beam == 1 ? plain.total() : 0, p = options.repetition_penalty;
      for (const int32_t token : known)
        log_p[token] = (log_p[token] + zero) * (log_p[token] + zero < 0 ? p : 1 / p) - zero;
      for (const int32_t token : options.never) log_p[token] = -INFINITY;
      if (length < options.min_length) log_p[kEos] = -INFINITY;
      if (options.no_repeat_ngram > 0) {
        std::vector<int32_t> read = {kEos};
        read.insert(read.end(), from.tokens.begin(), from.tokens.end());
        for (const int32_t token : plainly_repeating(read, options.no_repeat_ngram)) log_p[token] = -INFINITY;
      }
      if (std::cmp_less(from.tokens.size(), input.forced.size())) {
        std::ranges::fill(log_p, -INFINITY);
        log_p[input.forced[from.tokens.size()]] = 0;
      }
      for (size_t token = 0; token < log_p.size(); ++token) {
        PlainResult next = {from.tokens, from.score + log_p[token]};
        next.tokens.push_back(static_cast<int32_t>(token));
        continuations.push_back(std::move(next));
      }
    }
    std::ranges::stable_sort(continuations, std::greater(), &PlainResult::score);
    continuations.resize(2 * beam);
    running.clear();
    const double divisor = std::pow(length, options.length_penalty);
    for (size_t rank = 0; rank < 2 * beam; ++rank) {
      const PlainResult& next = continuations[rank];
      const bool stops = next.tokens.back() == kEos || length == limit;
      if (stops && rank < beam && next.score > kNever / 2)
        finished.push_back({next.tokens, next.score / divisor});
      if (!stops && running.size() < beam) running.push_back(next);
    }
    std::ranges::stable_sort(finished, std::greater(), &PlainResult::score);
    finished.resize(beam);
    if (running.empty() || running[0].score / divisor <= finished.back().score) return finished;
  }
}

inline std::vector<int32_t> whole(const DecodeInput& input, const Hypothesis& hypothesis) {
  std::vector<int32_t> tokens = {input.forced[0]};
  tokens.insert(tokens.end(), hypothesis.tokens.begin(), hypothesis.tokens.end());
  if (hypothesis.ended) tokens.push_back(kEos);
  return tokens;
}

}  // namespace chorus
