// Beam search for translations that contain given phrases: Post and Vilar 2018 (1804.06609), "Fast lexically
// constrained decoding with dynamic beam allocation".
//
// A hypothesis that has met t of the C tokens of its phrases is in bank t. Each step's candidates are the best
// continuations of each hypothesis and those that go on with a phrase; the beam is shared out to the banks, so
// that those with more met tokens, less probable at first, are not pushed out by others. Only what has met all
// of them may end.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decode/internal/search.h"

namespace chorus::inline decode {

/// Which of several phrases a sequence of tokens has, apart from each other.
class Phrases {
 public:
  struct State {
    std::vector<bool> met;  // of each phrase
    size_t phrase = 0;      // that the last `position` tokens begin
    size_t position = 0;
    size_t tokens = 0;  // of all phrases that are met, and position
  };

  /// None empty.
  explicit Phrases(std::span<const std::vector<int32_t>> phrases);
  [[nodiscard]] size_t tokens() const { return tokens_; }
  [[nodiscard]] State start() const { return {.met = std::vector<bool>(phrases_.size())}; }
  /// One token more. A phrase that is broken off begins anew, where its end may be the beginning of one.
  [[nodiscard]] State after(const State& state, int32_t token) const;
  /// The tokens that go on with the phrase that is begun, or else begin one that is not met.
  [[nodiscard]] std::vector<int32_t> next(const State& state) const;

 private:
  std::span<const std::vector<int32_t>> phrases_;
  size_t tokens_ = 0;
};

/// How many of `beam` each bank gets that has `candidates[bank]`: all the same, the last the rest; what a bank
/// cannot fill goes to the one before it. As Sockeye does it.
std::vector<size_t> bank_sizes(size_t beam, std::span<const size_t> candidates);

/// Needs NextTokens::logits.
class ConstrainedSearch final : public Search {
 public:
  /// `input` has phrases.
  ConstrainedSearch(size_t number, const DecodeInput& input, const DecodeOptions& options,
                    int64_t max_positions);
  void choose(const NextTokens& next) override;
  /// But what a phrase needs next, though it repeat something.
  [[nodiscard]] std::vector<int32_t> banned(size_t i, int32_t start) const override;
  [[nodiscard]] std::vector<Hypothesis> take() override;

 private:
  struct Ranked {
    Candidate candidate;
    Phrases::State state;
    double sum = 0;
  };

  [[nodiscard]] std::vector<std::vector<Ranked>> banks(const NextTokens& next) const;
  void finish(Live hypothesis);

  Phrases phrases_;
  std::vector<Phrases::State> states_;  // of each hypothesis that goes on
  std::vector<Hypothesis> pool_;        // best first, at most `beam`
};

}  // namespace chorus::inline decode
