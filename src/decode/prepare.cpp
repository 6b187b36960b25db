#include "decode/internal/prepare.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "io/json.h"

#include "decode/internal/lines.h"
#include "decode/internal/search.h"

namespace chorus::inline decode {

bool says_nothing(const Vocabulary& vocabulary, std::span<const int32_t> pieces) {
  return std::ranges::all_of(pieces,
                             [&](int32_t id) { return id == kUnk || vocabulary.name_of(id) == "\u2581"; });
}

Preparation::Preparation(const Vocabulary& vocabulary, const TranslatorOptions& options,
                         const RequiredText& required, int64_t positions)
    : vocabulary_(vocabulary),
      options_(options),
      required_(required),
      positions_(positions),
      tags_(vocabulary.pair_tags(options.from, options.to)) {
  if (options.sentences) sentences_.emplace(options.from);
}

PreparedLine Preparation::operator()(const SourceLine& line) const {
  if (!line.fault.empty()) throw UserError("{}", line.fault);
  PreparedLine made;
  const std::string text = checked(line.text, line.where, made.fault),
                    prefix = checked(line.prefix, line.prefix_where, made.fault);
  WholeLine whole = {
      .text = text, .from = line, .required = required_.find(vocabulary_, text, line.where), .phrases = {}};
  for (const RequiredText::Phrase& phrase : whole.required) whole.phrases.push_back(phrase.at);
  std::vector<TextPart> parts = {{.text = text, .before = {}}};
  if (sentences_) parts = sentences_->split(text, whole.phrases);
  if (sentences_ && !parts.empty()) {
    const std::string_view first = parts.front().text, last = parts.back().text;
    parts.front().before = {text.data(), first.data()};
    made.after = {last.data() + last.size(), text.data() + text.size()};
  }
  for (const TextPart& part : parts) add(part, whole, made);
  if (made.parts.empty()) {
    made.after.clear();
  } else {
    force(prefix, line.prefix_where, made.parts.front().input);
  }
  for (const LinePart& part : made.parts) check_room(part, line.where);
  return made;
}

/// The text as UTF-8; notes in `fault` where it was not.
std::string Preparation::checked(const std::string& text, const std::string& where,
                                 std::string& fault) const {
  const std::string found = utf8_fault(text, where);
  if (found.empty()) return text;
  if (options_.on_error != OnError::replace) throw UserError("{}", found);
  if (fault.empty()) fault = found;
  return as_utf8(text);
}

void Preparation::add(const TextPart& part, const WholeLine& whole, PreparedLine& line) const {
  const int64_t around = vocabulary_.tags_and_end(), most = options_.max_source - around;
  if (is_blank(part.text)) return;
  std::vector<int32_t> pieces = vocabulary_.encode(part.text);
  if (says_nothing(vocabulary_, pieces)) return;
  const bool fits = std::cmp_less_equal(pieces.size(), most);
  if (!fits && options_.long_lines == LongLines::split) {
    std::vector<TextPart> shorter = split_text(part.text, whole.phrases, [&](std::string_view shorter_text) {
      return std::cmp_less_equal(vocabulary_.encode(shorter_text).size(), most);
    });
    if (shorter.size() > 1) {
      shorter.front().before = part.before;
      for (const TextPart& one : shorter) add(one, whole, line);
      return;
    }
  }
  if (!fits) {
    throw UserError("{}: {} tokens with tag and </s>, more than the {} allowed{}", whole.from.where,
                    std::ssize(pieces) + around, options_.max_source,
                    options_.long_lines == LongLines::refuse ? "; --long split cuts such lines"
                    : whole.phrases.empty()                  ? ""
                                            : ", and it cannot be cut inside of a term or of what is kept");
  }
  LinePart& next = line.parts.emplace_back();
  next.before = part.before;
  next.wide = ends_wide(part.text);
  next.first_word = first_word({whole.text.data(), part.text.data()});
  next.input.tagged = tags_.target != kNoTag;
  if (next.input.tagged) next.input.forced.push_back(tags_.target);
  for (const int32_t tag : {tags_.before_source, tags_.source})
    if (tag != kNoTag) next.input.source.push_back(tag);
  next.input.source.insert(next.input.source.end(), pieces.begin(), pieces.end());
  next.input.source.push_back(kEos);
  require(whole, part.text, next);
  if (options_.sampling) {
    next.input.random = RandomKey(options_.sampling->seed)
                            .derive("sample")
                            .derive(static_cast<uint64_t>(whole.from.number))
                            .derive(line.parts.size());
  }
}

void Preparation::require(const WholeLine& whole, std::string_view text, LinePart& made) {
  const auto begins_before = [&](std::string_view phrase) { return phrase.data() < text.data(); };
  auto i = std::ranges::partition_point(whole.phrases, begins_before) - whole.phrases.begin();
  for (; i < std::ssize(whole.phrases) && whole.phrases[i].data() < text.data() + text.size(); ++i) {
    const RequiredText::Phrase& phrase = whole.required[i];
    if (phrase.pieces.empty())
      throw UserError("{}: the vocabulary of this model cannot write {}, which is to be kept",
                      whole.from.where, in_quotes(phrase.at));
    made.required += (made.required.empty() ? "" : ", ") + phrase.what;
    made.input.phrases.push_back(phrase.pieces);
  }
}

void Preparation::check_room(const LinePart& part, const std::string& where) const {
  int64_t tokens = std::ssize(part.input.forced) + 1;
  for (const std::vector<int32_t>& phrase : part.input.phrases) tokens += std::ssize(phrase);
  const int64_t most = longest_translation(part.input, options_.decode, positions_),
                least = options_.decode.min_length;
  if (least > most)
    throw UserError("{}: the translation must have {} at least, more than the {} allowed", where,
                    counted(least, "token"), most);
  if (!part.input.phrases.empty() && tokens > most)
    throw UserError("{}: the translation must contain {}, and with it has {}, more than the {} allowed",
                    where, part.required, counted(tokens, "token"), most);
}

void Preparation::force(const std::string& prefix, const std::string& where, DecodeInput& input) const {
  const std::vector<int32_t> pieces = vocabulary_.target().encode(prefix);
  input.forced.insert(input.forced.end(), pieces.begin(), pieces.end());
  if (std::cmp_greater_equal(input.forced.size(), positions_)) {
    throw UserError("{}: a prefix of {} tokens leaves no room in the {} positions of the model", where,
                    input.forced.size(), positions_);
  }
}

}  // namespace chorus::inline decode
