// What tests of documents share.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "document/document.h"

namespace chorus {

using Links = std::vector<std::pair<int64_t, int64_t>>;

inline std::vector<std::string> segments_of(const Document& document) {
  return {document.segments().begin(), document.segments().end()};
}

inline std::vector<std::string> segments_of(DocumentFormat format, const std::string& bytes) {
  return segments_of(Document(format, bytes));
}

/// The document with this translation of its only segment.
inline std::string translated(DocumentFormat format, const std::string& bytes, const std::string& translation,
                              const Links& links = {}) {
  const Document document(format, bytes);
  return document.write(std::vector<TranslatedSegment>(document.segments().size(), {translation, links}));
}

/// The document with its text in capitals: ASCII letters are, other text stays.
inline std::string in_capitals(DocumentFormat format, const std::string& bytes) {
  const Document document(format, bytes);
  std::vector<TranslatedSegment> translations;
  for (std::string text : document.segments()) {
    for (char& c : text) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    translations.push_back({text});
  }
  return document.write(translations);
}

inline std::string unchanged(DocumentFormat format, const std::string& bytes) {
  const Document document(format, bytes);
  std::vector<TranslatedSegment> translations;
  for (const std::string& text : document.segments()) translations.push_back({text});
  return document.write(translations);
}

}  // namespace chorus
