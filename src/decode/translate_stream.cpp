#include <array>
#include <exception>
#include <optional>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "comm/ranks.h"
#include "decode/translator.h"

#include "decode/internal/json.h"
#include "decode/internal/lines.h"

namespace chorus::inline decode {

namespace {

/// The lines of a window as they travel: to the rank that translates one, and back as what is written.
std::string pack_line(const SourceLine& line) {
  return pack(std::array{line.text, line.prefix, line.where, line.prefix_where, line.fault});
}

SourceLine unpack_line(std::string_view packed) {
  std::vector<std::string> texts = unpack(packed);
  return {.text = std::move(texts[0]),
          .prefix = std::move(texts[1]),
          .where = std::move(texts[2]),
          .prefix_where = std::move(texts[3]),
          .fault = std::move(texts[4])};
}

/// Reads lines, each with its prefix.
class Input {
 public:
  Input(LineReader& source, const StreamOptions& options) : source_(source), options_(options) {}

  /// Reads at most `most` lines: waits for the next one, and takes what has come behind it. An error in the input is
  /// kept for check().
  std::vector<std::string> read_window(int64_t most) {
    std::vector<std::string> window;
    try {
      while (std::cmp_less(window.size(), most) && (window.empty() || source_.ready()) && source_.next())
        window.push_back(pack_line(line()));
    } catch (const UserError&) {
      broken_ = std::current_exception();
    }
    return window;
  }

  /// Throws what has ended the input, once the lines before it are written.
  void check() const {
    if (broken_) std::rethrow_exception(broken_);
  }

  void check_end() const {
    if (options_.prefixes && options_.prefixes->next())
      throw UserError("{} has more lines than the {} of {}", options_.prefixes->path().string(),
                      source_.number(), source_.path().string());
  }

 private:
  [[nodiscard]] SourceLine line() const {
    SourceLine line = {.text = std::string(source_.text()),
                       .prefix = options_.prefix,
                       .where = place(source_),
                       .prefix_where = "the prefix",
                       .fault = fault_of(source_)};
    if (LineReader* const prefixes = options_.prefixes) {
      if (!prefixes->next()) {
        throw UserError("{} has {}, fewer than {}: each line needs its prefix, which may be empty",
                        prefixes->path().string(), counted(prefixes->number(), "line"),
                        source_.path().string());
      }
      line.prefix = prefixes->text();
      line.prefix_where = place(*prefixes);
      if (line.fault.empty()) line.fault = fault_of(*prefixes);
    }
    if (!line.fault.empty()) line.text.clear();
    return line;
  }

  LineReader& source_;
  const StreamOptions& options_;
  std::exception_ptr broken_;
};

/// " 0-0 1-2"
std::string pairs_of(std::span<const WordLink> links) {
  std::string text;
  for (const auto& [source, target] : links) text += fmt::format(" {}-{}", source, target);
  return text;
}

/// What is written for line `index`.
std::string written(int64_t index, const SourceLine& source, const TranslatedLine& line, LineForm form,
                    const TranslatorOptions& options) {
  const bool aligned = options.alignment.has_value();
  if (form == LineForm::json) return json_line(index, source, line, aligned);
  static const std::vector<Translation> kBlank = {{}};
  std::string text;
  for (const Translation& translation : line.best.empty() ? kBlank : line.best) {
    if (options.decode.nbest > 1)
      text += fmt::format("{} ||| {} ||| {:.6f}\n", index, translation.text, translation.score);
    else if (form == LineForm::scores)
      text += fmt::format("{}\t{:.6f}\n", translation.text, translation.score);
    else
      text += translation.text + (aligned ? " |||" + pairs_of(translation.links) : "") + "\n";
  }
  return text;
}

}  // namespace

StreamReport translate_stream(const LineTranslator& translator, LineReader* source,
                              const StreamOptions& options) {
  Group alone;
  Group& group = options.group ? *options.group : alone;
  const int64_t ranks = group.size();
  const OnError on_error = translator.options().on_error;
  std::optional<Input> input;
  if (source) input.emplace(*source, options);
  StreamReport report;
  int64_t done = 0;
  // A line comes back as what is written, its fault, and where it is if it looped.
  const auto translate = [&](std::span<const std::string> packed) {
    std::vector<SourceLine> lines;
    const auto index = [&](size_t i) { return done + group.rank() + ranks * static_cast<int64_t>(i); };
    for (const std::string& line : packed) {
      lines.push_back(unpack_line(line));
      lines.back().number = index(lines.size() - 1);
    }
    const std::vector<TranslatedLine> translated = translator.translate(lines, {}, [&](int64_t own) {
      if (options.progress && group.rank() == 0) options.progress(done + own * ranks);
    });
    std::vector<std::string> made;
    for (size_t i = 0; i < lines.size(); ++i) {
      const TranslatedLine& line = translated[i];
      const bool skipped = line.best.empty() && on_error == OnError::skip;
      made.push_back(pack(
          std::array{skipped ? "" : written(index(i), lines[i], line, options.form, translator.options()),
                     line.fault, line.looped ? lines[i].where : ""}));
    }
    return made;
  };
  while (true) {
    const std::vector<std::string> window =
        input ? input->read_window(options.window * ranks) : std::vector<std::string>();
    if (input && window.empty()) input->check();
    const std::vector<std::string> made = deal_to_ranks(group, window, translate);
    if (made.empty()) break;
    done += static_cast<int64_t>(made.size());
    if (group.rank() > 0) continue;
    for (const std::string& packed : made) {
      const std::vector<std::string> line = unpack(packed);
      if (!line[1].empty() && on_error == OnError::stop) {
        if (options.progress) options.progress(report.lines);
        throw UserError("{}; --on-error skip, blank or replace goes on", line[1]);
      }
      options.write(line[0]);
      ++report.lines;
      if (!line[1].empty()) report.faults.add(line[1]);
      if (!line[2].empty()) report.loops.add(line[2]);
    }
    if (options.progress) options.progress(done);
    input->check();
  }
  if (input) input->check_end();
  return report;
}

}  // namespace chorus::inline decode
