// The search of one sentence: which hypotheses go on, which are finished. See decode/beam.h for the
// rules.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decode/beam.h"

namespace chorus::inline decode {

class Search {
 public:
  /// A hypothesis and one token more.
  struct Candidate {
    size_t parent = 0;  // index into live()
    int32_t token = 0;
    double log_probability = 0;  // of the token
  };
  struct Live {
    std::vector<int32_t> tokens;  // after what the decoder starts with
    double log_probability = 0;
    size_t parent = 0;  // which hypothesis of the step before it goes on from
  };

  /// `input` and `options` must outlive it.
  Search(size_t number, const DecodeInput& input, const DecodeOptions& options, int64_t max_positions);

  [[nodiscard]] size_t number() const { return number_; }
  [[nodiscard]] const DecodeInput& input() const { return *input_; }
  /// Most tokens, and so most steps.
  [[nodiscard]] int64_t limit() const { return limit_; }

  /// Whether the next token is given. Then force() takes it, else choose() does with the candidates, which
  /// need not be sorted; those of probability zero are passed over. Without any the hypotheses end as they
  /// are.
  [[nodiscard]] bool is_forced() const { return live_.front().tokens.size() < input_->forced.size(); }
  void force();
  void choose(std::span<const Candidate> candidates);
  /// The tokens by which the i-th hypothesis, after the `start` that the decoder read first, would repeat
  /// options.no_repeat_ngram (above 0) tokens.
  [[nodiscard]] std::vector<int32_t> repeating(size_t i, int32_t start) const;

  /// Hypotheses that go on, best first; at least one unless done().
  [[nodiscard]] const std::vector<Live>& live() const { return live_; }
  [[nodiscard]] bool done() const { return done_; }
  /// Of a finished search.
  [[nodiscard]] std::vector<Hypothesis> take_best(int64_t count);

 private:
  void add_finished(std::vector<int32_t> tokens, double sum, bool ended);

  size_t number_;
  const DecodeInput* input_;
  const DecodeOptions* options_;
  int64_t limit_;
  std::vector<Live> live_ = {{}};
  std::vector<Hypothesis> pool_;  // best first, at most `beam`
  bool done_ = false;
};

}  // namespace chorus::inline decode
