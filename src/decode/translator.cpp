#include "decode/translator.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

#include "decode/internal/lines.h"
#include "decode/internal/prepare.h"

namespace chorus::inline decode {

namespace {

constexpr int64_t kGuardNgram = 3;  // DecodeOptions::no_repeat_ngram with TranslatorOptions::guard

std::string on_one_line(std::string text) {
  std::ranges::replace(text, '\n', ' ');
  std::ranges::replace(text, '\r', ' ');
  return text;
}

/// Which results were cut at the longest length in a loop.
std::vector<size_t> loops(const std::vector<std::vector<Hypothesis>>& results) {
  std::vector<size_t> looped;
  for (size_t i = 0; i < results.size(); ++i)
    if (const Hypothesis& best = results[i].front(); !best.ended && ends_in_loop(best.tokens))
      looped.push_back(i);
  return looped;
}

/// Adds the translations of a line's next part, rank by rank. `before` as LinePart has it; where it is empty
/// and the text before needs no space (`wide`), its translation may.
void append(std::vector<Translation>& line, std::vector<Translation> part, const std::string& before,
            bool wide) {
  const bool first = line.empty();
  line.resize(first ? part.size() : std::min(line.size(), part.size()));
  for (size_t rank = 0; rank < line.size(); ++rank) {
    std::string& text = line[rank].text;
    text += before.empty() && wide && !ends_wide(text) ? " " : before;
    text += part[rank].text;
    line[rank].score += part[rank].score;
  }
}

}  // namespace

LineTranslator::LineTranslator(Transformer& model, const Vocabulary& vocabulary, TranslatorOptions options)
    : model_(make_step_decoder(model)), vocabulary_(vocabulary), options_(std::move(options)) {
  static_cast<void>(vocabulary.tag(options_.from));
  static_cast<void>(vocabulary.tag(options_.to));
  const int64_t positions = model.config().max_positions;
  if (options_.max_source == 0) options_.max_source = positions;
  if (options_.max_source <= kTagAndEnd || options_.max_source > positions)
    throw UserError("a longest source of {} is outside {} to the model's {} positions",
                    counted(options_.max_source, "token"), kTagAndEnd + 1, positions);
  options_.decode.never = never_chosen(vocabulary, model.config().vocabulary);
  if (options_.allow_unk) std::erase(options_.decode.never, kUnk);
}

std::vector<TranslatedLine> LineTranslator::translate(std::span<const SourceLine> lines) const {
  const Preparation prepare(vocabulary_, options_, model_->config().max_positions);
  std::vector<TranslatedLine> translated(lines.size());
  std::vector<PreparedLine> prepared(lines.size());
  std::vector<DecodeInput> inputs;
  for (size_t i = 0; i < lines.size(); ++i) {
    try {
      prepared[i] = prepare(lines[i]);
    } catch (const UserError& error) {
      translated[i].fault = error.what();
      if (options_.on_error == OnError::stop) break;
      continue;
    }
    translated[i].fault = prepared[i].fault;
    if (prepared[i].parts.empty()) translated[i].best = {{}};
    for (LinePart& part : prepared[i].parts) inputs.push_back(std::move(part.input));
  }

  auto results = decode(inputs, options_.decode);
  const std::vector<size_t> looped = loops(results);
  if (options_.guard && !looped.empty()) decode_again(inputs, looped, results);
  size_t next = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    TranslatedLine& line = translated[i];
    bool wide = false;
    for (const LinePart& part : prepared[i].parts) {
      std::vector<Translation> translations;
      for (const Hypothesis& hypothesis : results[next])
        translations.push_back({on_one_line(vocabulary_.decode(hypothesis.tokens)), hypothesis.score});
      append(line.best, std::move(translations), part.before, wide);
      line.looped = line.looped || std::ranges::binary_search(looped, next);
      wide = part.wide;
      ++next;
    }
    for (Translation& translation : line.best) translation.text += prepared[i].after;
  }
  return translated;
}

std::vector<std::vector<Hypothesis>> LineTranslator::decode(std::span<const DecodeInput> inputs,
                                                            const DecodeOptions& options) const {
  if (options_.sampling) return sample(*model_, inputs, options, *options_.sampling);
  return beam_search(*model_, inputs, options);
}

void LineTranslator::decode_again(std::span<const DecodeInput> inputs, const std::vector<size_t>& which,
                                  std::vector<std::vector<Hypothesis>>& results) const {
  std::vector<DecodeInput> chosen;
  chosen.reserve(which.size());
  for (const size_t i : which) chosen.push_back(inputs[i]);
  DecodeOptions options = options_.decode;
  options.no_repeat_ngram = kGuardNgram;
  auto again = decode(chosen, options);
  for (size_t i = 0; i < which.size(); ++i) results[which[i]] = std::move(again[i]);
}

}  // namespace chorus::inline decode
