// What the model is given of a line.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decode/translator.h"

#include "decode/internal/required.h"
#include "decode/internal/split.h"

namespace chorus::inline decode {

/// A piece of a line that is translated by itself.
struct LinePart {
  DecodeInput input;
  std::string required;    // what its phrases are, for messages
  std::string before;      // what stands between its translation and that of the part before
  int64_t first_word = 0;  // of the line's words, its first
  bool wide = false;       // its text ends as ends_wide() says
};

struct PreparedLine {
  std::vector<LinePart> parts;  // none: there is nothing to translate
  std::string after;            // what follows the last translation
  std::string fault;            // as TranslatedLine::fault
};

/// Whether the model would read nothing of the pieces but unk.
bool says_nothing(const Vocabulary& vocabulary, std::span<const int32_t> pieces);

class Preparation {
 public:
  /// All must outlive it. `options` are a Translator's, `positions` the model's.
  Preparation(const Vocabulary& vocabulary, const TranslatorOptions& options, const RequiredText& required,
              int64_t positions);

  /// UserError on a line that cannot be translated.
  [[nodiscard]] PreparedLine operator()(const SourceLine& line) const;

 private:
  [[nodiscard]] std::string checked(const std::string& text, const std::string& where,
                                    std::string& fault) const;
  /// `part` is of `text`, which is that of the line `from`.
  void add(const TextPart& part, std::string_view text, const SourceLine& from, PreparedLine& line) const;
  void require(const TextPart& part, const std::string& where, LinePart& made) const;
  void check_room(const LinePart& part, const std::string& where) const;
  void force(const std::string& prefix, const std::string& where, DecodeInput& input) const;

  const Vocabulary& vocabulary_;
  const TranslatorOptions& options_;
  const RequiredText& required_;
  int64_t positions_;
  PairTags tags_;
  std::optional<SentenceSplitter> sentences_;
};

}  // namespace chorus::inline decode
