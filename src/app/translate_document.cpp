#include "app/translate_document.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>
#include <vector>

#include "app/commands.h"
#include "base/error.h"

namespace chorus::inline app {

Document read_document(const std::string& format, const DocumentLanguages& languages) {
  std::string bytes;
  std::array<char, 1 << 16> buffer;
  while (const size_t read = std::fread(buffer.data(), 1, buffer.size(), stdin)) {
    bytes.append(buffer.data(), read);
    if (bytes.size() > Document::kMostBytes) break;  // which Document refuses
  }
  if (std::ferror(stdin) != 0) throw Error("standard input cannot be read");
  const auto named =
      std::ranges::find(document_formats(), format, &std::pair<std::string_view, DocumentFormat>::first);
  return {named->second, std::move(bytes), languages};
}

std::string translate_document(const Document& document, const LineTranslator& translator,
                               StreamReport& report, const std::function<void(int64_t segments)>& progress) {
  constexpr size_t kWindow = 1024;  // segments translated together
  const std::span<const std::string> segments = document.segments();
  std::vector<TranslatedSegment> translations;
  translations.reserve(segments.size());
  for (size_t begin = 0; begin < segments.size(); begin += kWindow) {
    std::vector<SourceLine> lines;
    for (size_t i = begin; i < std::min(segments.size(), begin + kWindow); ++i) {
      lines.push_back({.text = segments[i],
                       .number = static_cast<int64_t>(i),
                       .prefix = {},
                       .where = fmt::format("segment {}", i + 1),
                       .prefix_where = {},
                       .fault = {}});
    }
    const auto done = [&](int64_t part) { progress(static_cast<int64_t>(begin) + part); };
    for (TranslatedLine& line : translator.translate(lines, {}, done)) {
      const size_t i = translations.size();
      ++report.lines;
      if (!line.fault.empty()) report.faults.add(line.fault);
      if (line.looped) report.loops.add(lines[i - begin].where);
      if (line.best.empty() && translator.options().on_error == OnError::stop)
        throw UserError("{}; --on-error skip leaves it as it is", line.fault);
      // Of a segment whose pieces the model does not know nothing would be left.
      if (line.best.empty() || line.best.front().text.empty())
        translations.push_back({segments[i]});
      else
        translations.push_back({std::move(line.best.front().text), std::move(line.best.front().links)});
    }
    progress(report.lines);
  }
  return document.write(translations);
}

}  // namespace chorus::inline app
