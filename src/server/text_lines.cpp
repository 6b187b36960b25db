#include "server/text_lines.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/text.h"
#include "base/utf8.h"

namespace chorus::inline server {

TextLines::TextLines(std::span<const std::string> texts) {
  for (size_t i = 0; i < texts.size(); ++i) {
    Text& text = texts_.emplace_back(Text{.first = lines_.size(), .before = {}, .after = {}});
    int64_t number = 0;
    for (const std::string_view line : split(texts[i], '\n')) {
      if (number++ > 0) text.after += '\n';
      const std::string_view words = trim_space(line);
      if (words.empty()) {
        text.after += line;
        continue;
      }
      text.after.append(line.data(), words.data());
      text.before.push_back(
          std::exchange(text.after, std::string(words.data() + words.size(), line.data() + line.size())));
      lines_.push_back({.text = std::string(words),
                        .number = std::ssize(lines_),
                        .where = fmt::format("text {}, line {}", i + 1, number)});
    }
  }
}

std::vector<std::vector<std::string>> TextLines::texts(std::span<const TranslatedLine> translated) const {
  std::vector<std::vector<std::string>> made;
  for (const Text& text : texts_) {
    const auto lines = translated.subspan(text.first, text.before.size());
    size_t ranks = 1;
    for (const TranslatedLine& line : lines) ranks = std::max(ranks, line.best.size());
    std::vector<std::string>& of_text = made.emplace_back(ranks);
    for (size_t rank = 0; rank < ranks; ++rank) {
      for (size_t i = 0; i < lines.size(); ++i)
        of_text[rank] += text.before[i] + lines[i].best[std::min(rank, lines[i].best.size() - 1)].text;
      of_text[rank] += text.after;
    }
  }
  return made;
}

}  // namespace chorus::inline server
