// Text from one language into another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "chorus/model.h"

namespace chorus::inline face {

/// Each step's distribution is flattened or sharpened by the temperature, then cut by top-k, top-p and
/// epsilon, in this order; the most probable token always stays.
struct SampleOptions {
  double temperature = 1;  // above 0; below 1 keeps closer to what is probable
  int top_k = 0;           // draw from the k most probable tokens; 0: all
  double top_p = 1;        // from the most probable ones that have this probability together
  double epsilon = 0;      // only tokens of this probability
  uint64_t seed = 1;       // the same one draws the same translations of the same texts
};

/// Of several candidates (samples, or hypotheses of a beam of at least so many) the one that is most like the
/// others, by the mean chrF or BLEU against each (minimum Bayes risk).
struct MbrChoice {
  enum class By { chrf, bleu } by = By::chrf;
  int candidates = 0;  // 0: 64 samples, or all hypotheses of the beam
};

struct TranslateOptions {
  int beam = 5;          // hypotheses looked at together; 1: greedy
  double diversity = 0;  // above 0: what a hypothesis loses where those before it have taken the same word
  int beam_groups = 0;   // of diversity: groups that the beam is cut into; 0: one for each hypothesis
  std::optional<SampleOptions> sample = {};  // draw translations; `beam` does not matter then
  std::optional<MbrChoice> mbr = {};
  int nbest = 1;              // of nbest(): at most `beam`; or samples, as they are drawn
  double length_penalty = 1;  // above 0 prefers long translations
  // A translation has at most max_length_factor tokens per token of its text, and max_length more.
  double max_length_factor = 2;
  int max_length = 30;
  int min_length = 0;             // tokens at least, tag and end counted; UserError where fewer are allowed
  int no_repeat_ngram = 0;        // above 0: no run of so many tokens occurs twice
  double repetition_penalty = 1;  // above 1: tokens that were already written become less likely
  bool guard = false;  // translate again, with no_repeat_ngram = 3, what repeats itself until it is cut off
  bool sentences = false;  // translate every sentence of a text by itself
  // Where a text has the first phrase of a pair, its translation contains the second.
  std::vector<std::pair<std::string, std::string>> terms = {};
  std::string keep = {};    // regular expression (ICU's): what it matches is in the translation as it is
  std::string prefix = {};  // what every translation begins with
  bool alignment = false;   // fill in Scored::alignment; of an ensemble by the first model
  // Called before each step of decoding, by the thread that called, where it is not empty: what it throws ends the
  // translation and comes out of the call.
  std::function<void()> before_step = {};
  // File of `chorus shortlist`: translations are made of the pieces of the target language alone, which is faster.
  std::filesystem::path shortlist = {};
};

/// A token of a text. Its log-probability is NaN where it was given.
struct ScoredToken {
  std::string piece;  // as the vocabulary writes it: "▁the", "</s>"
  double log_probability = 0;
};

struct Scored {
  std::string text;
  // Sum of log-probabilities over tokens^length_penalty; with MBR the mean, 0 to 100. Of a text in parts their sum.
  double score = 0;
  double log_probability = 0;  // the sum over the tokens
  bool ended = true;           // false: cut at the longest length
  std::vector<ScoredToken> tokens;
  // Word of the text and word of the translation, from 0.
  std::vector<std::pair<int64_t, int64_t>> alignment = {};
};

/// Threads may share one: what it gives does not depend on what others ask at the same time.
class Translator {
 public:
  /// `from` and `to` are languages of the model, or both empty where it has none; `from` may be empty where the model
  /// is not told it (SMaLL-100). UserError on others.
  Translator(const Model& model, const std::string& from, const std::string& to,
             const TranslateOptions& options = {});
  /// An ensemble: at each step the models' probabilities are averaged. UserError where they do not have one
  /// vocabulary.
  Translator(const std::vector<Model>& models, const std::string& from, const std::string& to,
             const TranslateOptions& options = {});

  /// One line of UTF-8 becomes one line. Longer text than the model has positions for is cut at ends of
  /// sentences. UserError where a text is not UTF-8.
  [[nodiscard]] std::string translate(const std::string& text) const;
  /// Many at once are faster than one after the other. texts[i] becomes element i.
  [[nodiscard]] std::vector<std::string> translate(const std::vector<std::string>& texts) const;
  /// The best translations of each, best first; or samples. `first`: the number of the first text, from 0, where
  /// others came before: samples are drawn by the text's number, which messages name.
  [[nodiscard]] std::vector<std::vector<Scored>> nbest(const std::vector<std::string>& texts,
                                                       int64_t first = 0) const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace chorus::inline face
