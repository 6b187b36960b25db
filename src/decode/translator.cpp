#include "chorus/decode/translator.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/data/utf8.h"

#include "lines.h"
#include "split.h"

namespace chorus {

namespace {

std::string on_one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  std::ranges::replace(text, '\r', ' ');
  return text;
}

/// The translations of a line's parts, joined rank by rank.
void append(std::vector<Translation>& line, std::vector<Translation> part, bool space) {
  if (line.empty()) {
    line = std::move(part);
    return;
  }
  line.resize(std::min(line.size(), part.size()));
  for (size_t rank = 0; rank < line.size(); ++rank) {
    line[rank].text += (space ? " " : "") + part[rank].text;
    line[rank].score += part[rank].score;
  }
}

}  // namespace

Translator::Translator(Transformer& model, const Vocabulary& vocabulary, TranslatorOptions options)
    : model_(model),
      vocabulary_(vocabulary),
      options_(std::move(options)),
      source_tag_(vocabulary.tag(options_.from)),
      target_tag_(vocabulary.tag(options_.to)) {
  const int64_t positions = model.config().max_positions;
  if (options_.max_source == 0) options_.max_source = positions;
  if (options_.max_source <= kTagAndEnd || options_.max_source > positions)
    throw UserError("a longest source of {} tokens is outside {} to the model's {} positions",
                    options_.max_source, kTagAndEnd + 1, positions);
  options_.decode.never = never_chosen(vocabulary, model.config().vocabulary);
  if (options_.allow_unk) std::erase(options_.decode.never, kUnk);
}

std::vector<std::vector<Translation>> Translator::translate(std::span<const SourceLine> lines) const {
  struct Part {
    size_t line = 0;
    bool space = false;
  };
  const int64_t most = options_.max_source - kTagAndEnd;
  const auto fits = [&](std::string_view text) {
    return std::cmp_less_equal(vocabulary_.encode(text).size(), most);
  };
  const auto append_pieces = [&](std::string_view text, std::vector<int32_t>& ids) {
    const std::vector<int32_t> pieces = vocabulary_.encode(text);
    ids.insert(ids.end(), pieces.begin(), pieces.end());
  };
  std::vector<DecodeInput> inputs;
  std::vector<Part> parts;
  const auto add = [&](size_t line, std::string_view text, bool space, bool first) {
    DecodeInput input = {.source = {}, .forced = {}, .tagged = target_tag_ != kNoTag};
    if (source_tag_ != kNoTag) input.source.push_back(source_tag_);
    if (input.tagged) input.forced.push_back(target_tag_);
    append_pieces(text, input.source);
    const auto tokens = static_cast<int64_t>(input.source.size()) + 1;
    if (tokens > options_.max_source) {
      throw UserError(
          "{}: {} tokens with tag and </s>, more than the {} allowed; split such lines, or let "
          "--long split do it",
          lines[line].where, tokens, options_.max_source);
    }
    input.source.push_back(kEos);
    if (first) append_pieces(lines[line].prefix, input.forced);
    inputs.push_back(std::move(input));
    parts.push_back({line, space});
  };
  for (size_t i = 0; i < lines.size(); ++i) {
    check_utf8(lines[i].text, lines[i].where);
    check_utf8(lines[i].prefix, lines[i].where);
    if (trim_space(lines[i].text).empty()) continue;
    if (options_.long_lines == LongLines::refuse || fits(lines[i].text)) {
      add(i, lines[i].text, false, true);
    } else {
      const std::vector<TextPart> text_parts = split_text(lines[i].text, fits);
      for (size_t p = 0; p < text_parts.size(); ++p) add(i, text_parts[p].text, text_parts[p].space, p == 0);
    }
  }

  std::vector<std::vector<Translation>> translations(lines.size());
  const auto results = decode(model_, inputs, options_.decode);
  for (size_t i = 0; i < results.size(); ++i) {
    std::vector<Translation> part;
    for (const Hypothesis& hypothesis : results[i])
      part.push_back({on_one_line(vocabulary_.decode(hypothesis.tokens)), hypothesis.score});
    append(translations[parts[i].line], std::move(part), parts[i].space);
  }
  for (std::vector<Translation>& line : translations)
    if (line.empty()) line = {{}};
  return translations;
}

void translate_stream(const Translator& translator, LineReader* source, const StreamOptions& options) {
  Group alone;
  Group& group = options.group ? *options.group : alone;
  const int64_t ranks = group.size(), longest = options.window * ranks;
  const bool nbest = translator.options().decode.nbest > 1;
  int64_t done = 0;
  // A line goes to the rank that translates it as {text, prefix, where}, and comes back as what is written.
  const auto read_window = [&] {
    std::vector<std::string> window;
    while (source && std::cmp_less(window.size(), longest) && source->next()) {
      std::string prefix = options.prefix;
      if (options.prefixes) {
        if (!options.prefixes->next()) {
          throw UserError("{} has {} lines, fewer than {}: each line needs its prefix, which may be empty",
                          options.prefixes->path().string(), options.prefixes->number(),
                          source->path().string());
        }
        prefix = line_text(*options.prefixes);
      }
      window.push_back(pack(std::array{line_text(*source), prefix, place(*source)}));
    }
    return window;
  };
  const auto translate = [&](std::span<const std::string> packed) {
    std::vector<SourceLine> lines;
    for (const std::string& line : packed) {
      const std::vector<std::string> parts = unpack(line);
      lines.push_back({parts[0], parts[1], parts[2]});
    }
    std::vector<std::string> texts;
    for (const std::vector<Translation>& line : translator.translate(lines)) {
      const int64_t index = done + group.rank() + ranks * static_cast<int64_t>(texts.size());
      std::string& text = texts.emplace_back();
      for (const auto& [translation, score] : line) {
        if (nbest)
          text += fmt::format("{} ||| {} ||| {:.6f}\n", index, translation, score);
        else if (options.scores)
          text += fmt::format("{}\t{:.6f}\n", translation, score);
        else
          text += translation + "\n";
      }
    }
    return texts;
  };
  while (true) {
    const std::vector<std::string> texts = share(group, read_window(), translate);
    if (texts.empty()) break;
    done += static_cast<int64_t>(texts.size());
    if (group.rank() > 0) continue;
    for (const std::string& text : texts) options.write(text);
    if (options.progress) options.progress(done);
  }
  if (source && options.prefixes && options.prefixes->next())
    throw UserError("{} has more lines than the {} of {}", options.prefixes->path().string(),
                    source->number(), source->path().string());
}

}  // namespace chorus
