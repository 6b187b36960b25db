// Texts as the lines that are translated, and back.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "decode/translator.h"

namespace chorus::inline server {

/// Line ends, and lines of white space alone, come back as they were.
class TextLines {
 public:
  explicit TextLines(std::span<const std::string> texts);

  /// What is there to translate, of all texts one after the other, each said where it is: "text 2, line 3".
  [[nodiscard]] const std::vector<SourceLine>& lines() const { return lines_; }
  /// Of each text its translations, best first: of rank r the r-th of each line, or its last. `translated` are lines()'
  /// translations, of which none is without `best`.
  [[nodiscard]] std::vector<std::vector<std::string>> texts(std::span<const TranslatedLine> translated) const;

 private:
  struct Text {
    size_t first = 0;                 // line
    std::vector<std::string> before;  // what stands before each line
    std::string after;
  };
  std::vector<SourceLine> lines_;
  std::vector<Text> texts_;
};

}  // namespace chorus::inline server
