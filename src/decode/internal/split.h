// Text in parts: sentences, and what is too long.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <unicode/brkiter.h>

namespace chorus::inline decode {

struct TextPart {
  std::string_view text;    // trimmed, not empty
  std::string_view before;  // the white space between this part and the one before; of the first, none
};

/// Halves well-formed UTF-8 until every part fits, preferably between sentences, else between words. A single
/// character is a part even if it does not fit.
std::vector<TextPart> split_text(std::string_view text, const std::function<bool(std::string_view)>& fits);

/// Finds sentences as ICU's break iterator does, except where the last word is an abbreviation that CLDR
/// lists for the language (its suppressions; ICU's own filter takes every word that ends like one for one); a
/// line or paragraph separator ends a sentence whatever stands before it. Not for several threads at once.
class SentenceSplitter {
 public:
  /// By a code such as "de", "deu_Latn"; a name that is no code has the rules of every language.
  explicit SentenceSplitter(const std::string& language);

  /// Of well-formed UTF-8.
  [[nodiscard]] std::vector<TextPart> split(std::string_view text) const;

 private:
  [[nodiscard]] bool ends_in_abbreviation(std::string_view text) const;

  std::unique_ptr<icu::BreakIterator> breaks_;
  std::vector<std::string> abbreviations_;
};

/// Whether the last character is one of a script that needs no spaces, or its punctuation (East Asian Width).
bool ends_wide(std::string_view text);

}  // namespace chorus::inline decode
