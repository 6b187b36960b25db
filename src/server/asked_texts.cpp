#include "server/asked_texts.h"

#include <algorithm>

#include <fmt/format.h>

namespace chorus::inline server {

AskedTexts::AskedTexts(std::span<const std::string> texts, DocumentFormat format,
                       const DocumentLanguages& languages) {
  documents_.reserve(texts.size());
  for (const std::string& text : texts) {
    const Document& document = documents_.emplace_back(format, text, languages);
    for (size_t i = 0; i < document.segments().size(); ++i) {
      lines_.push_back({.text = document.segments()[i],
                        .number = std::ssize(lines_),
                        .where = fmt::format("text {}, part {}", documents_.size(), i + 1)});
      has_markup_ = has_markup_ || document.has_markup(i);
    }
  }
}

std::vector<std::vector<std::string>> AskedTexts::texts(std::span<const TranslatedLine> translated) const {
  std::vector<std::vector<std::string>> made;
  made.reserve(documents_.size());
  for (const Document& document : documents_) {
    const auto lines = translated.first(document.segments().size());
    translated = translated.subspan(lines.size());
    size_t ranks = 1;
    for (const TranslatedLine& line : lines) ranks = std::max(ranks, line.best.size());
    std::vector<std::string>& of_text = made.emplace_back();
    for (size_t rank = 0; rank < ranks; ++rank) {
      std::vector<TranslatedSegment> segments;
      segments.reserve(lines.size());
      for (size_t i = 0; i < lines.size(); ++i) {
        const std::vector<Translation>& best = lines[i].best;
        const Translation& of_rank = best[std::min(rank, best.size() - 1)];
        segments.push_back(best.front().text.empty() ? TranslatedSegment{document.segments()[i]}
                                                     : TranslatedSegment{of_rank.text, of_rank.links});
      }
      of_text.push_back(document.write(segments));
    }
  }
  return made;
}

}  // namespace chorus::inline server
