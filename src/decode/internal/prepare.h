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
  struct WholeLine {
    std::string_view text;
    const SourceLine& from;
    std::vector<RequiredText::Phrase> required;
    std::vector<std::string_view> phrases;  // where they are in the text, which is not cut inside of them
  };
  /// Adds what is made of a part of the line: several, where it is too long.
  void add(const TextPart& part, const WholeLine& whole, PreparedLine& line) const;
  /// Adds the phrases that lie in the part's text to what its translation must contain.
  static void require(const WholeLine& whole, std::string_view text, LinePart& made);
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
