#include "chorus/translator.h"

#include "base/error.h"
#include "data/shortlist.h"
#include "decode/translator.h"

#include "inference/internal/loaded.h"

namespace chorus::inline face {

namespace {

std::optional<Sampling> sampling_of(const std::optional<SampleOptions>& options) {
  if (!options) return {};
  return Sampling{.temperature = options->temperature,
                  .top_k = options->top_k,
                  .top_p = options->top_p,
                  .epsilon = options->epsilon,
                  .seed = options->seed};
}

std::optional<MbrOptions> mbr_of(const std::optional<MbrChoice>& choice) {
  if (!choice) return {};
  return MbrOptions{.utility = choice->by == MbrChoice::By::chrf ? Utility::chrf : Utility::bleu,
                    .candidates = choice->candidates};
}

std::vector<Term> terms_of(const TranslateOptions& options) {
  std::vector<Term> terms;
  for (size_t i = 0; i < options.terms.size(); ++i)
    terms.push_back({options.terms[i].first, options.terms[i].second, fmt::format("term {}", i + 1)});
  return terms;
}

}  // namespace

struct Translator::State {
  std::vector<Model> models;  // which `lines` refers to
  LineTranslator lines;
  std::string prefix;
};

Translator::Translator(const Model& model, const std::string& from, const std::string& to,
                       const TranslateOptions& options)
    : Translator(std::vector{model}, from, to, options) {}

Translator::Translator(const std::vector<Model>& models, const std::string& from, const std::string& to,
                       const TranslateOptions& options) {
  if (models.empty()) throw UserError("there is no model to translate with");
  const Vocabulary& vocabulary = models.front().loaded().vocabulary;
  std::vector<Transformer*> transformers;
  for (const Model& model : models) {
    if (model.loaded().vocabulary.hash() != vocabulary.hash())
      throw UserError("an ensemble has one vocabulary, and these models have several");
    transformers.push_back(model.loaded().transformer.get());
  }
  TranslatorOptions lines = {.from = from,
                             .to = to,
                             .decode = {.beam = options.beam,
                                        .nbest = options.nbest,
                                        .length_penalty = options.length_penalty,
                                        .max_length_factor = options.max_length_factor,
                                        .max_length_offset = options.max_length,
                                        .min_length = options.min_length,
                                        .diversity = options.diversity,
                                        .groups = options.beam_groups,
                                        .no_repeat_ngram = options.no_repeat_ngram,
                                        .repetition_penalty = options.repetition_penalty,
                                        .before_step = options.before_step},
                             .sampling = sampling_of(options.sample),
                             .mbr = mbr_of(options.mbr),
                             .sentences = options.sentences};
  lines.guard = options.guard;
  lines.keep = options.keep;
  if (options.alignment) lines.alignment = AlignmentOptions();
  lines.terms = terms_of(options);
  if (!options.shortlist.empty()) lines.shortlist = read_shortlist(options.shortlist, vocabulary, to);
  state_ = std::make_shared<const State>(
      State{models, LineTranslator(transformers, vocabulary, lines), options.prefix});
}

std::vector<std::vector<Scored>> Translator::nbest(const std::vector<std::string>& texts,
                                                   int64_t first) const {
  std::vector<SourceLine> lines;
  for (int64_t i = 0; i < std::ssize(texts); ++i) {
    lines.push_back({.text = texts[i],
                     .number = first + i,
                     .prefix = state_->prefix,
                     .where = fmt::format("text {}", first + i + 1),
                     .prefix_where = "the prefix"});
  }
  std::vector<std::vector<Scored>> best;
  for (const TranslatedLine& line : state_->lines.translate(lines)) {
    if (line.best.empty()) throw UserError("{}", line.fault);
    std::vector<Scored>& of_line = best.emplace_back();
    for (const Translation& translation : line.best) {
      Scored& scored = of_line.emplace_back(Scored{translation.text,
                                                   translation.score,
                                                   translation.log_probability,
                                                   translation.ended,
                                                   {},
                                                   translation.links});
      for (const auto& [piece, log_probability] : translation.pieces)
        scored.tokens.push_back({piece, log_probability});
    }
  }
  return best;
}

std::vector<std::string> Translator::translate(const std::vector<std::string>& texts) const {
  std::vector<std::string> translations;
  for (std::vector<Scored>& best : nbest(texts)) translations.push_back(std::move(best.front().text));
  return translations;
}

std::string Translator::translate(const std::string& text) const {
  return translate(std::vector{text}).front();
}

}  // namespace chorus::inline face
