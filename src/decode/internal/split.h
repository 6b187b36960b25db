// Text in parts: sentences, and what is too long.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <unicode/brkiter.h>

namespace chorus::inline decode {

struct TextPart {
  std::string_view text;    // trimmed, not empty
  std::string_view before;  // the white space between this part and the one before; of the first, none
};

/// Whether a text may be cut at a byte: not inside one of `phrases`, which lie in it, in order and apart.
bool may_cut(std::span<const std::string_view> phrases, const char* at);

/// Halves well-formed UTF-8 until every part fits, preferably between sentences, else between words. A single
/// character is a part even if it does not fit, and so is what cannot be cut because of `phrases` (see above).
std::vector<TextPart> split_text(std::string_view text, std::span<const std::string_view> phrases,
                                 const std::function<bool(std::string_view)>& fits);

/// Finds sentences as ICU's break iterator does, except where the last word is an abbreviation that CLDR
/// lists for the language (its suppressions; ICU's own filter takes every word that ends like one for one); a
/// line or paragraph separator ends a sentence whatever stands before it. Not for several threads at once.
class SentenceSplitter {
 public:
  /// Takes the rules of a language, by a code such as "de", "deu_Latn"; a name that is no code has the rules of every
  /// language.
  explicit SentenceSplitter(const std::string& language);

  /// Splits well-formed UTF-8 into sentences, none of which ends inside of one of `phrases`, which lie in it.
  [[nodiscard]] std::vector<TextPart> split(std::string_view text,
                                            std::span<const std::string_view> phrases = {}) const;

 private:
  [[nodiscard]] bool ends_in_abbreviation(std::string_view text) const;

  std::unique_ptr<icu::BreakIterator> breaks_;
  std::vector<std::string> abbreviations_;
};

/// Returns the last character of well-formed text that is not empty.
char32_t last_code_point(std::string_view text);

/// Whether the character is one of a script that needs no spaces, or its punctuation (East Asian Width).
bool is_wide(char32_t c);
/// Whether the last character is one.
bool ends_wide(std::string_view text);

}  // namespace chorus::inline decode
