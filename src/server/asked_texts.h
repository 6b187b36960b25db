// Texts of a request as the lines that are translated, and back.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "decode/translator.h"
#include "document/document.h"

namespace chorus::inline server {

/// Each text is a document of its own, whose form stays.
class AskedTexts {
 public:
  /// UserError as Document.
  AskedTexts(std::span<const std::string> texts, DocumentFormat format, const DocumentLanguages& languages);

  /// Returns what there is to translate, of all texts one after the other, each with its place: "text 2, part 3".
  [[nodiscard]] const std::vector<SourceLine>& lines() const { return lines_; }
  /// Whether there is markup inside a line, so that links of its words to those of its translation are of use.
  [[nodiscard]] bool has_markup() const { return has_markup_; }
  /// Returns the translations of each text, best first: of rank r the r-th of each line, or its last. `translated`
  /// are lines()' translations, of which none is without `best`. A line whose best translation is empty stays as it
  /// is.
  [[nodiscard]] std::vector<std::vector<std::string>> texts(std::span<const TranslatedLine> translated) const;

 private:
  std::vector<Document> documents_;
  std::vector<SourceLine> lines_;
  bool has_markup_ = false;
};

}  // namespace chorus::inline server
