// From lines of text to translations.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "comm/group.h"
#include "data/line_reader.h"
#include "decode/alignment.h"
#include "decode/beam.h"
#include "decode/findings.h"
#include "decode/sampling.h"
#include "decode/terms.h"

namespace chorus::inline decode {

/// What becomes of a line with more tokens than max_source.
enum class LongLines {
  refuse,  // it cannot be translated
  split,   // cut at ends of sentences, else at white space, else anywhere; the translations are joined again
};

/// What becomes of a line that cannot be translated: its bytes or those of its prefix are not UTF-8, it is
/// longer than its reader holds or than LongLines::refuse allows, or its prefix leaves no room.
enum class OnError {
  stop,     // what comes before it is written, then UserError
  skip,     // nothing is written for it
  blank,    // an empty line is written for it
  replace,  // bytes that are not UTF-8 are read as U+FFFD, each ill-formed sequence as one; else as `blank`
};

/// What a translation is worth against another one taken for its reference (metrics/).
enum class Utility { chrf, bleu };

inline constexpr int64_t kMbrSamples = 64;

/// Minimum Bayes risk decoding: of several translations the one that is worth most on average against all
/// others, each weighing the same (Eikema and Aziz 2022; 2111.09388), rather than the most probable one.
struct MbrOptions {
  Utility utility = Utility::chrf;
  // Samples, or the best hypotheses of a beam of at least so many; 0: kMbrSamples, or the whole beam.
  int64_t candidates = 0;
};

struct TranslatorOptions {
  std::string from, to;                   // languages; both empty for a vocabulary without tags
  DecodeOptions decode;                   // `never` is filled in by the translator
  std::optional<Sampling> sampling = {};  // draw translations instead of searching for the best
  std::optional<MbrOptions> mbr = {};     // decode.nbest different ones of the candidates are kept
  bool allow_unk = false;                 // let the model choose the unknown token; it reads " ⁇ "
  int64_t max_source = 0;  // tokens of a source, tag and </s> included; 0: the model's positions
  LongLines long_lines = LongLines::split;
  OnError on_error = OnError::stop;
  bool sentences = false;  // translate every sentence of a line by itself; the space around them is kept
  std::vector<Term> terms = {};  // phrases and what their translations contain
  std::string keep = {};         // regular expression (ICU's): what it matches is in the translation as it is
  // The tokens of text, each once and in ascending order, that translations may have (read_shortlist()): these, and for
  // each line the pieces of its own text, prefix and phrases. Empty: all.
  std::vector<int32_t> shortlist = {};
  std::optional<AlignmentOptions> alignment = {};  // of an ensemble the first model's
  bool guard = false;                              // decode again, with no_repeat_ngram, what ends in a loop
};

struct SourceLine {
  std::string text;
  int64_t number = 0;        // which line of all that are translated: samples of lines are drawn by it
  std::string prefix;        // what the translation must begin with
  std::string where;         // "FILE:17", for messages,
  std::string prefix_where;  // and where the prefix stands
  std::string fault;         // why there is no text; "": there is
};

/// A token of a translation.
struct ScoredPiece {
  std::string piece;          // as the vocabulary writes it: "▁the", "</s>"
  float log_probability = 0;  // NaN: it was given (the prefix)
};

struct Translation {
  std::string text;  // one line: a line end the model produces is a space
  // DecodeOptions' score, or, with MBR, what it is worth on average, 0 to 100; of a line that was cut in
  // parts, the sum over them.
  double score = 0;
  double log_probability = 0;       // the sum over the tokens, those given left out
  bool ended = true;                // by </s>, in every part; false: cut at the longest length
  std::vector<ScoredPiece> pieces;  // of all parts, with the </s> of each that ended
  std::vector<WordLink> links;      // with TranslatorOptions::alignment
};

struct TranslatedLine {
  // Best first, or samples in the order of their numbers; 1 to nbest. None: it could not be translated, or was stopped.
  std::vector<Translation> best;
  std::string fault;  // what is wrong with the line, and where; "": nothing
  // The best translation, or that of a part of the line, was cut at its longest length while it repeated
  // itself: its last 6 tokens or more are the same ones three times or more.
  bool looped = false;
};

class RequiredText;  // internal/required.h

/// Threads may share one.
class LineTranslator {
 public:
  /// The models, of which several are an ensemble (model/step_decoder.h), must outlive it. UserError when the
  /// vocabulary has no such languages, or options are out of range.
  LineTranslator(std::span<Transformer* const> models, const Vocabulary& vocabulary,
                 TranslatorOptions options);
  LineTranslator(Transformer& model, const Vocabulary& vocabulary, TranslatorOptions options)
      : LineTranslator(std::vector{&model}, vocabulary, std::move(options)) {}

  /// Translates lines. A line in which there is nothing to translate (white space, invisible and control characters,
  /// marks that stand alone, U+FFFC, U+FFFD, or not a piece but unk) has one translation, which is empty. With
  /// OnError::stop no line behind the first that cannot be translated has one. `stopped`, which may be empty, is
  /// asked between steps about lines that are not done: true drops the line, which then has neither a translation nor
  /// a fault. `progress`, which may be empty, is told after each batch but the last about how many lines are done by
  /// then.
  [[nodiscard]] std::vector<TranslatedLine> translate(
      std::span<const SourceLine> lines, const std::function<bool(size_t line)>& stopped = {},
      const std::function<void(int64_t lines)>& progress = {}) const;

  /// Whether a line's translation is the same bits whatever else is translated with it.
  [[nodiscard]] bool independent() const { return model_->independent(); }
  [[nodiscard]] const TranslatorOptions& options() const { return options_; }

 private:
  [[nodiscard]] Candidates candidates_of(const DecodeInput& input) const;
  [[nodiscard]] std::string text_of(const Hypothesis& hypothesis) const;
  [[nodiscard]] Translation made_of(const Hypothesis& hypothesis) const;
  std::vector<std::vector<Hypothesis>> decode(std::span<const DecodeInput> inputs,
                                              const DecodeOptions& options,
                                              const std::function<void(int64_t done)>& progress) const;
  /// Returns the links of each hypothesis of each input.
  [[nodiscard]] std::vector<std::vector<std::vector<WordLink>>> align(
      std::span<const DecodeInput> inputs, const std::vector<std::vector<Hypothesis>>& results) const;
  void keep_worthiest(std::vector<Hypothesis>& candidates) const;
  void decode_again(std::span<const DecodeInput> inputs, const std::vector<size_t>& which,
                    const DecodeOptions& options, std::vector<std::vector<Hypothesis>>& results) const;

  Transformer* first_;  // of the models
  std::unique_ptr<const StepDecoder> model_;
  Vocabulary vocabulary_;
  TranslatorOptions options_;
  std::shared_ptr<const RequiredText> required_;
  std::shared_ptr<const SharedTokens> shortlist_;  // null: all tokens
};

/// How translate_stream() writes a line.
enum class LineForm {
  // TRANSLATION, with alignments "TRANSLATION ||| 0-0 1-2 ..." (pairs of words, source first, as Pharaoh has
  // them); or, with nbest > 1, lines "INDEX ||| TRANSLATION ||| SCORE", as Moses and Marian do
  text,
  scores,  // TRANSLATION<TAB>SCORE; with nbest > 1 as `text`
  json,    // one object, however many translations there are: see docs/decoding.md
};

struct StreamOptions {
  std::string prefix;              // of every translation; or
  LineReader* prefixes = nullptr;  // one per line
  LineForm form = LineForm::text;
  // Lines held at a time, per rank; a window is translated sorted by length, and written in order.
  int64_t window = 1024;
  std::function<void(std::string_view)> write;  // output, complete lines
  std::function<void(int64_t lines)> progress;  // lines done so far, after each batch about; may be empty
  // The ranks that share the lines, each with the whole model; null: this process alone.
  Group* group = nullptr;
};

/// On rank 0.
struct StreamReport {
  int64_t lines = 0;
  Findings faults, loops;  // TranslatedLine::fault; the places of lines with TranslatedLine::looped
};

/// Translates all lines. A window ends where no further line has come yet: the lines that have come are then
/// translated and written. INDEX is the number of the line, from 0, which a line that is skipped leaves out.
/// UserError naming file and line, after all before it is written: OnError::stop, damage to the input, or not as many
/// prefixes as lines. Rank 0 alone reads, writes and is told of progress: others have no `source`.
StreamReport translate_stream(const LineTranslator& translator, LineReader* source,
                              const StreamOptions& options);

}  // namespace chorus::inline decode
