#include "decode/translator.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <numeric>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "metrics/bleu.h"
#include "metrics/chrf.h"

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
    if (!results[i].empty() && !results[i].front().ended && ends_in_loop(results[i].front().tokens))
      looped.push_back(i);
  return looped;
}

using Pairs = std::vector<std::pair<size_t, size_t>>;

/// Returns which of a line's translations so far (`line`, best first) and which of its next part's make the `most` with
/// the largest sums of scores, the best first.
Pairs best_pairs(std::span<const Translation> line, std::span<const Translation> part, size_t most) {
  Pairs pairs;
  for (size_t i = 0; i < std::min(line.size(), most); ++i)
    for (size_t j = 0; j < part.size() && (i + 1) * (j + 1) <= most; ++j) pairs.emplace_back(i, j);
  std::ranges::stable_sort(pairs, std::greater(), [&](const std::pair<size_t, size_t>& pair) {
    return line[pair.first].score + part[pair.second].score;
  });
  pairs.resize(std::min(pairs.size(), most));
  return pairs;
}

/// Likewise of samples: each goes with the one of its number.
Pairs equal_pairs(size_t count) {
  Pairs pairs;
  for (size_t i = 0; i < count; ++i) pairs.emplace_back(i, i);
  return pairs;
}

/// Returns a translation with that of the line's next part behind it. `before` as LinePart has it; where it is empty
/// and the text before needs no space (`wide`), its translation may.
Translation joined(Translation line, const Translation& part, const std::string& before, bool wide) {
  line.text += before.empty() && wide && !ends_wide(line.text) ? " " : before;
  const int64_t word = first_word(line.text);
  for (const auto& [source, target] : part.links) line.links.emplace_back(source, word + target);
  line.text += part.text;
  line.score += part.score;
  line.log_probability += part.log_probability;
  line.ended = line.ended && part.ended;
  line.pieces.insert(line.pieces.end(), part.pieces.begin(), part.pieces.end());
  return line;
}

/// Returns the pairs joined, each begun by one of `line`, which is copied only where it begins several.
std::vector<Translation> extended(std::vector<Translation> line, std::span<const Translation> part,
                                  const Pairs& pairs, const std::string& before, bool wide) {
  std::vector<size_t> uses(line.size());
  for (const auto& [begun, next] : pairs) ++uses[begun];
  std::vector<Translation> longer;
  longer.reserve(pairs.size());
  for (const auto& [begun, next] : pairs) {
    Translation own = --uses[begun] == 0 ? std::move(line[begun]) : line[begun];
    longer.push_back(joined(std::move(own), part[next], before, wide));
  }
  return longer;
}

}  // namespace

LineTranslator::LineTranslator(std::span<Transformer* const> models, const Vocabulary& vocabulary,
                               TranslatorOptions options)
    : first_(models.front()),
      model_(make_step_decoder(models)),
      vocabulary_(vocabulary),
      options_(std::move(options)) {
  static_cast<void>(vocabulary.pair_tags(options_.from, options_.to));
  const int64_t positions = model_->max_positions();
  if (options_.max_source == 0) options_.max_source = positions;
  if (options_.max_source <= vocabulary.tags_and_end() || options_.max_source > positions)
    throw UserError("a longest source of {} is outside {} to the model's {} positions",
                    counted(options_.max_source, "token"), vocabulary.tags_and_end() + 1, positions);
  if (options_.mbr && options_.mbr->candidates == 0)
    options_.mbr->candidates = options_.sampling ? kMbrSamples : options_.decode.beam;
  if (options_.mbr && options_.mbr->candidates < 2)
    throw UserError("MBR chooses between candidates: {} is none to choose from",
                    counted(options_.mbr->candidates, "candidate"));
  if (options_.mbr && options_.decode.nbest > options_.mbr->candidates)
    throw UserError("n-best of {} is more than the {}", options_.decode.nbest,
                    counted(options_.mbr->candidates, "candidate"));
  if (options_.sampling && !(options_.terms.empty() && options_.keep.empty()))
    throw UserError("samples are drawn as they come: terms and text to keep need a beam");
  if (options_.alignment) check_alignment(first_->config(), *options_.alignment);
  required_ = std::make_shared<const RequiredText>(vocabulary, options_.terms, options_.keep);
  options_.decode.never = never_chosen(vocabulary, model_->config().vocabulary);
  if (options_.allow_unk) std::erase(options_.decode.never, kUnk);
  if (options_.shortlist.empty()) return;
  std::vector<int32_t> tokens = {kEos};
  if (options_.allow_unk) tokens.push_back(kUnk);
  tokens.insert(tokens.end(), options_.shortlist.begin(), options_.shortlist.end());
  std::ranges::sort(tokens);
  shortlist_ = model_->take_tokens(std::move(tokens));
}

std::vector<TranslatedLine> LineTranslator::translate(
    std::span<const SourceLine> lines, const std::function<bool(size_t line)>& stopped,
    const std::function<void(int64_t lines)>& progress) const {
  const Preparation prepare(vocabulary_, options_, *required_, model_->max_positions());
  std::vector<TranslatedLine> translated(lines.size());
  std::vector<PreparedLine> prepared(lines.size());
  std::vector<DecodeInput> inputs;
  std::vector<size_t> line_of;  // each input
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
    for (LinePart& part : prepared[i].parts) {
      part.input.candidates = candidates_of(part.input);
      inputs.push_back(std::move(part.input));
      line_of.push_back(i);
    }
  }

  DecodeOptions options = options_.decode;
  if (stopped) options.stopped = [&](size_t input) { return stopped(line_of[input]); };
  auto results = decode(inputs, options, [&](int64_t done) {
    if (progress && done < std::ssize(inputs)) progress(done * std::ssize(lines) / std::ssize(inputs));
  });
  const std::vector<size_t> looped = loops(results);
  if (options_.guard && !looped.empty()) decode_again(inputs, looped, options, results);
  const auto links = align(inputs, results);
  const bool samples = options_.sampling && !options_.mbr;  // of which each goes its own way
  size_t next = 0;
  for (size_t i = 0; i < lines.size(); ++i) {
    TranslatedLine& line = translated[i];
    bool wide = false, whole = true;
    for (const LinePart& part : prepared[i].parts) {
      whole = whole && !results[next].empty();
      std::vector<Translation> translations;
      for (size_t rank = 0; rank < results[next].size(); ++rank) {
        translations.push_back(made_of(results[next][rank]));
        if (!options_.alignment) continue;
        for (const auto& [source, target] : links[next][rank])
          translations.back().links.emplace_back(part.first_word + source, target);
      }
      if (&part == &prepared[i].parts.front()) line.best.resize(samples ? translations.size() : 1);
      const Pairs pairs = samples ? equal_pairs(std::min(line.best.size(), translations.size()))
                                  : best_pairs(line.best, translations, options_.decode.nbest);
      line.best = extended(std::move(line.best), translations, pairs, part.before, wide);
      line.looped = line.looped || std::ranges::binary_search(looped, next);
      wide = part.wide;
      ++next;
    }
    if (!whole) line = {};
    for (Translation& translation : line.best) translation.text += prepared[i].after;
  }
  return translated;
}

/// A list knows a language, and not what a line wants copied.
Candidates LineTranslator::candidates_of(const DecodeInput& input) const {
  Candidates candidates = {.shared = shortlist_, .own = {}};
  if (!shortlist_) return candidates;
  std::vector<int32_t> own = input.source;
  own.insert(own.end(), input.forced.begin(), input.forced.end());
  for (const std::vector<int32_t>& phrase : input.phrases)
    own.insert(own.end(), phrase.begin(), phrase.end());
  std::erase_if(own, [&](int32_t token) { return !vocabulary_.is_text(token) || candidates.column(token); });
  std::ranges::sort(own);
  own.erase(std::unique(own.begin(), own.end()), own.end());
  candidates.own = std::move(own);
  return candidates;
}

Translation LineTranslator::made_of(const Hypothesis& hypothesis) const {
  Translation made = {.text = text_of(hypothesis),
                      .score = hypothesis.score,
                      .log_probability = hypothesis.log_probability,
                      .ended = hypothesis.ended};
  for (size_t i = 0; i < hypothesis.log_probabilities.size(); ++i) {
    const int32_t token = i < hypothesis.tokens.size() ? hypothesis.tokens[i] : kEos;
    made.pieces.push_back({vocabulary_.name_of(token), hypothesis.log_probabilities[i]});
  }
  return made;
}

std::vector<std::vector<std::vector<WordLink>>> LineTranslator::align(
    std::span<const DecodeInput> inputs, const std::vector<std::vector<Hypothesis>>& results) const {
  if (!options_.alignment) return {};
  const PairTags tags = vocabulary_.pair_tags(options_.from, options_.to);
  const int before = (tags.before_source == kNoTag ? 0 : 1) + (tags.source == kNoTag ? 0 : 1);
  // One that was cut at the model's positions leaves no room for the </s> that a pair has.
  const auto most = static_cast<size_t>(first_->config().max_positions - kTagAndEnd);
  std::vector<SentencePair> pairs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::vector<int32_t>& source = inputs[i].source;
    for (const Hypothesis& hypothesis : results[i]) {
      pairs.push_back({.source = {source.begin() + before, source.end() - 1},
                       .target = {hypothesis.tokens.begin(),
                                  hypothesis.tokens.begin() + std::min(most, hypothesis.tokens.size())},
                       .source_tag = tags.source,
                       .target_tag = tags.target,
                       .before_source_tag = tags.before_source});
    }
  }
  std::vector<std::vector<WordLink>> flat =
      align_pairs(*first_, vocabulary_, pairs, *options_.alignment, options_.decode.batch_tokens);
  std::vector<std::vector<std::vector<WordLink>>> links;
  size_t next = 0;
  for (const std::vector<Hypothesis>& hypotheses : results) {
    links.emplace_back();
    for (size_t rank = 0; rank < hypotheses.size(); ++rank) links.back().push_back(std::move(flat[next++]));
  }
  return links;
}

std::string LineTranslator::text_of(const Hypothesis& hypothesis) const {
  return on_one_line(vocabulary_.decode(hypothesis.tokens));
}

std::vector<std::vector<Hypothesis>> LineTranslator::decode(
    std::span<const DecodeInput> inputs, const DecodeOptions& options,
    const std::function<void(int64_t done)>& progress) const {
  DecodeOptions search = options;
  if (options_.mbr) search.nbest = options_.mbr->candidates;
  auto results = options_.sampling ? sample(*model_, inputs, search, *options_.sampling, progress)
                                   : beam_search(*model_, inputs, search, progress);
  if (options_.mbr)
    for (std::vector<Hypothesis>& candidates : results)
      if (!candidates.empty()) keep_worthiest(candidates);
  return results;
}

void LineTranslator::keep_worthiest(std::vector<Hypothesis>& candidates) const {
  std::vector<std::string> texts;
  texts.reserve(candidates.size());
  for (const Hypothesis& candidate : candidates) texts.push_back(text_of(candidate));
  const std::vector<double> worth =
      options_.mbr->utility == Utility::chrf ? expected_chrf(texts) : expected_bleu(texts);
  std::vector<size_t> order(candidates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, std::greater(), [&](size_t i) { return worth[i]; });
  std::vector<Hypothesis> kept;
  std::set<std::string_view> seen;
  for (const size_t i : order) {
    if (std::ssize(kept) == options_.decode.nbest) break;
    if (!seen.insert(texts[i]).second) continue;
    candidates[i].score = worth[i];
    kept.push_back(std::move(candidates[i]));
  }
  candidates = std::move(kept);
}

void LineTranslator::decode_again(std::span<const DecodeInput> inputs, const std::vector<size_t>& which,
                                  const DecodeOptions& options,
                                  std::vector<std::vector<Hypothesis>>& results) const {
  std::vector<DecodeInput> chosen;
  chosen.reserve(which.size());
  for (const size_t i : which) chosen.push_back(inputs[i]);
  DecodeOptions guarded = options;
  guarded.no_repeat_ngram = kGuardNgram;
  if (options.stopped) guarded.stopped = [&](size_t i) { return options.stopped(which[i]); };
  auto again = decode(chosen, guarded, {});
  for (size_t i = 0; i < which.size(); ++i) results[which[i]] = std::move(again[i]);
}

}  // namespace chorus::inline decode
