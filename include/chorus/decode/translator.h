// From lines of text to translations.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "chorus/comm/group.h"
#include "chorus/data/line_reader.h"
#include "chorus/decode/beam.h"

namespace chorus {

/// What becomes of a line with more tokens than max_source.
enum class LongLines {
  refuse,  // UserError naming the line
  split,   // cut at ends of sentences, else at white space, else anywhere; the translations are joined again
};

struct TranslatorOptions {
  std::string from, to;    // languages; both empty for a vocabulary without tags
  DecodeOptions decode;    // `never` is filled in by the translator
  bool allow_unk = false;  // let the model choose the unknown token; it reads " ⁇ "
  int64_t max_source = 0;  // tokens of a source, tag and </s> included; 0: the model's positions
  LongLines long_lines = LongLines::refuse;
};

struct SourceLine {
  std::string text;
  std::string prefix;  // what the translation must begin with
  std::string where;   // "FILE:17", for messages
};

struct Translation {
  std::string text;  // one line: a line end the model produces is a space
  double score = 0;  // DecodeOptions' score; of a line that was split, the sum over its parts
};

class Translator {
 public:
  /// `model` must outlive it. UserError when the vocabulary has no such languages, or max_source is out of
  /// range.
  Translator(Transformer& model, const Vocabulary& vocabulary, TranslatorOptions options);

  /// For each line its translations, best first, 1 to nbest of them; for a blank line the one empty
  /// translation. UserError on text that is not UTF-8, and on a line that is too long.
  [[nodiscard]] std::vector<std::vector<Translation>> translate(std::span<const SourceLine> lines) const;

  [[nodiscard]] const TranslatorOptions& options() const { return options_; }

 private:
  Transformer& model_;
  Vocabulary vocabulary_;
  TranslatorOptions options_;
  int32_t source_tag_ = 0, target_tag_ = 0;
};

struct StreamOptions {
  std::string prefix;              // of every translation; or
  LineReader* prefixes = nullptr;  // one a line
  bool scores = false;             // "TRANSLATION<TAB>SCORE"
  int64_t window =
      1024;  // lines held at a time, for each rank; a window is sorted by length, written in order
  std::function<void(std::string_view)> write;  // output, complete lines
  std::function<void(int64_t lines)> progress;  // lines done so far, after each window; may be empty
  Group* group =
      nullptr;  // the ranks that share the lines, each with the whole model; null: this process alone
};

/// Translates all lines. With nbest > 1 each line gives lines "INDEX ||| TRANSLATION ||| SCORE", INDEX from
/// 0, as Moses and Marian write them. UserError names file and line: not UTF-8, too long, or not as many
/// prefixes as lines. Rank 0 alone reads, writes and is told of progress: others have no `source`.
void translate_stream(const Translator& translator, LineReader* source, const StreamOptions& options);

}  // namespace chorus
