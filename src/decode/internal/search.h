// The search of one sentence: which hypotheses go on, which are finished. What all kinds of search share is
// here; each kind says in choose() which tokens come next.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "decode/beam.h"

namespace chorus::inline decode {

/// Throws Error: the model's output is not a number.
[[noreturn]] void fail_not_a_number();

/// What the model says of the next token of a sentence's hypotheses, on the host. Tokens that must not be
/// chosen are at -inf.
struct NextTokens {
  int64_t best = 0;                 // tokens per hypothesis in the two lists that follow
  const int64_t* tokens = nullptr;  // [hypotheses, best], best first; kPad where there are not so many
  const float* log_probabilities = nullptr;  // [hypotheses, best]
  int64_t columns = 0;
  const float* logits = nullptr;  // [hypotheses, columns], those of `candidates` first; null: not asked for
  const Candidates* candidates = nullptr;  // of the sentence

  /// Returns the log-probability of any token, where there are logits: its logit less a constant, which the best
  /// token tells.
  [[nodiscard]] double log_probability(size_t hypothesis, int32_t token) const {
    const auto i = static_cast<int64_t>(hypothesis);
    const auto logit = [&](int32_t of) {
      const std::optional<int64_t> column = candidates->column(of);
      return column ? double{logits[i * columns + *column]} : -HUGE_VAL;
    };
    return logit(token) -
           (logit(static_cast<int32_t>(tokens[i * best])) - double{log_probabilities[i * best]});
  }
};

/// Returns the most tokens of a translation, </s> counted: as options and positions allow, but always one after those
/// that are forced.
int64_t longest_translation(const DecodeInput& input, const DecodeOptions& options, int64_t max_positions);

class Search {
 public:
  /// A hypothesis and one token more.
  struct Candidate {
    size_t parent = 0;  // index into live()
    int32_t token = 0;
    double log_probability = 0;  // of the token
  };
  struct Live {
    std::vector<int32_t> tokens;           // after what the decoder starts with
    std::vector<float> log_probabilities;  // of each; NaN: it was forced
    double log_probability = 0;            // their sum, without what was forced
    size_t parent = 0;                     // which hypothesis of the step before it goes on from
    size_t lane = 0;                       // of those that a sentence has several of: group of a beam, sample
    double penalty = 0;                    // what the search takes off the sum (DecodeOptions::diversity)
  };

  /// `input` and `options` must outlive it.
  Search(size_t number, const DecodeInput& input, const DecodeOptions& options, int64_t max_positions);
  virtual ~Search() = default;

  [[nodiscard]] size_t number() const { return number_; }
  [[nodiscard]] const DecodeInput& input() const { return *input_; }
  /// Most tokens, and so most steps.
  [[nodiscard]] int64_t limit() const { return limit_; }

  /// Whether the next token is given. Then force() takes it, else choose() looks for it; where no token may
  /// be chosen the hypotheses end as they are.
  [[nodiscard]] bool is_forced() const { return live_.front().tokens.size() < input_->forced.size(); }
  void force();
  virtual void choose(const NextTokens& next) = 0;
  /// What the i-th hypothesis, after the `start` that the decoder read first, must not go on with: tokens that
  /// would repeat options.no_repeat_ngram others, and </s> while it is shorter than options.min_length.
  [[nodiscard]] virtual std::vector<int32_t> banned(size_t i, int32_t start) const;

  /// Hypotheses that go on; at least one unless done().
  [[nodiscard]] const std::vector<Live>& live() const { return live_; }
  [[nodiscard]] bool done() const { return live_.empty(); }
  /// Returns the hypotheses of a finished search, at most options.nbest.
  [[nodiscard]] virtual std::vector<Hypothesis> take() = 0;

 protected:
  [[nodiscard]] const DecodeOptions& options() const { return *options_; }
  /// Tokens of the hypotheses that the next step makes, </s> counted, and whether that is as many as allowed.
  [[nodiscard]] size_t next_length() const { return live_.front().tokens.size() + 1; }
  [[nodiscard]] bool is_last() const { return std::cmp_greater_equal(next_length(), limit_); }
  /// The candidate's parent with its token (</s> too) behind it.
  [[nodiscard]] Live extended(const Candidate& candidate) const;
  /// What is returned of a hypothesis that goes on no more.
  [[nodiscard]] Hypothesis finished(Live hypothesis) const;
  void go_on_with(std::vector<Live> live);
  /// Whether the i-th hypothesis belongs to the lane: before the first choice there is one for all lanes.
  [[nodiscard]] bool is_of(size_t lane, size_t i) const { return !parted_ || live_[i].lane == lane; }

 private:
  void add_repeating(size_t i, int32_t start, std::vector<int32_t>& tokens) const;

  size_t number_;
  const DecodeInput* input_;
  const DecodeOptions* options_;
  int64_t limit_;
  std::vector<Live> live_ = {{}};
  bool parted_ = false;  // into lanes
};

/// Returns the best tokens of each hypothesis from NextTokens, those that may be chosen.
std::vector<Search::Candidate> best_candidates(const NextTokens& next, size_t hypotheses);

/// How many groups a beam is cut into.
inline int64_t groups_of(const DecodeOptions& options) {
  if (options.diversity == 0) return 1;
  return options.groups == 0 ? options.beam : options.groups;
}

/// See decode/beam.h for the rules. A lane is a group.
class BeamSearch final : public Search {
 public:
  BeamSearch(size_t number, const DecodeInput& input, const DecodeOptions& options, int64_t max_positions);
  void choose(const NextTokens& next) override;
  [[nodiscard]] std::vector<Hypothesis> take() override;

 private:
  using Chosen = std::map<int32_t, int64_t>;  // tokens that lanes before have gone on with, and how many
  struct Ranked {
    Candidate candidate;
    double sum = 0, penalty = 0;
  };
  struct Finished {
    double score = 0;  // less the penalty
    Hypothesis hypothesis;
  };

  [[nodiscard]] std::vector<Ranked> ranked(std::span<const Candidate> candidates, size_t lane,
                                           const Chosen& chosen) const;
  std::vector<Live> go_on(std::span<const Candidate> candidates, size_t lane, Chosen& chosen);
  void finish(Live hypothesis, size_t lane);

  size_t width_;                              // of a lane
  std::vector<std::vector<Finished>> pools_;  // of each lane; best first, at most `width_`
};

}  // namespace chorus::inline decode
