// What of a line's text must be in its translation: targets of terms, and text that is kept as it is.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <unicode/regex.h>

#include "data/vocabulary.h"
#include "decode/terms.h"

namespace chorus::inline decode {

class RequiredText {
 public:
  /// UserError on a term's target that the vocabulary cannot write, and on a pattern that is none. `keep` is a
  /// regular expression, as ICU has them; "": nothing is kept.
  RequiredText(const Vocabulary& vocabulary, std::span<const Term> terms, const std::string& keep);

  struct Phrase {
    std::vector<int32_t> pieces;  // none: the vocabulary cannot write it
    std::string what;             // for messages: "'words' (terms.tsv:3)"
    std::string_view at = {};     // what of the text it stands for
  };
  /// Returns one for each place in the text (well-formed UTF-8), in order and apart: what is kept, and outside of that
  /// the terms, the longest where several begin. UserError, from `where`, on a line in which the pattern is too hard to
  /// look for.
  [[nodiscard]] std::vector<Phrase> find(const Vocabulary& vocabulary, std::string_view text,
                                         const std::string& where) const;

 private:
  struct Match {
    size_t begin, end;  // bytes
  };

  [[nodiscard]] std::vector<Match> kept(std::string_view text, const std::string& where) const;
  void find_terms(std::string_view text, Match where, std::vector<Phrase>& phrases) const;

  std::unordered_map<std::string, Phrase> terms_;  // by their source
  std::vector<size_t> lengths_;                    // of the sources, in bytes: each once, the longest first
  std::string pattern_text_;
  std::unique_ptr<icu::RegexPattern> pattern_;  // null: nothing is kept
};

}  // namespace chorus::inline decode
