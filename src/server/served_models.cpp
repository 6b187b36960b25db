#include "server/served_models.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "decode/scorer.h"
#include "detect/classifier.h"

namespace chorus::inline server {

namespace {

constexpr int64_t kScoringTokens = 8192;  // of a batch

/// Returns the directions that the model was trained in; where that is not known, all from one language to another.
std::vector<std::pair<std::string, std::string>> directions_of(const LoadedModel& loaded) {
  const std::vector<std::string>& trained = loaded.model->config().directions;
  const std::set<std::string> known(trained.begin(), trained.end());
  const std::vector<std::string>& languages = loaded.vocabulary.languages();
  std::vector<std::pair<std::string, std::string>> directions;
  for (const std::string& from : languages) {
    for (const std::string& to : languages) {
      if (from == to || !(known.empty() || known.contains(fmt::format("{}-{}", from, to)))) continue;
      try {
        static_cast<void>(loaded.vocabulary.pair_tags(from, to));
      } catch (const UserError&) {
        continue;  // OPUS-MT: not from this one, or not to that
      }
      directions.emplace_back(from, to);
    }
  }
  return directions;
}

}  // namespace

ServedModels::ServedModels(std::span<const std::filesystem::path> folders, const ServedOptions& options,
                           std::shared_ptr<const LanguageDetector> detector)
    : options_(options), detector_(std::move(detector)) {
  for (const std::filesystem::path& folder : folders) {
    const ModelPlace place = find_model(folder);
    ModelDescription description = describe_model(place.description);
    auto served = std::make_shared<Served>(
        Served{load_model(place.weights, std::move(description), options.compute, options.memory), {}});
    served->directions = directions_of(served->loaded);
    if (served->directions.empty())
      throw UserError("{}: this model has no two languages to translate between", folder.string());
    models_.push_back(std::move(served));
  }
  std::set<std::pair<std::string, std::string>> listed;
  const auto language = [&](const std::string& code) -> ServedLanguage& {
    const auto found = std::ranges::find(languages_, code, &ServedLanguage::code);
    return found != languages_.end() ? *found
                                     : languages_.emplace_back(ServedLanguage{code, language_name(code), {}});
  };
  for (const auto& served : models_)
    for (const auto& [from, to] : served->directions)
      if (listed.emplace(from, to).second) language(from).targets.push_back(to);
  for (const auto& [from, to] : listed) language(to);
  std::vector<std::string> codes;
  for (const ServedLanguage& one : languages_) {
    codes_.add(one.code);
    codes.push_back(one.code);
  }
  if (!detector_) {
    detector_ =
        folders.size() == 1 ? open_detector(find_model(folders[0]).description, codes) : cld2_detector(codes);
  }
}

std::shared_ptr<const ServedModels::Served> ServedModels::model_for(const std::string& from,
                                                                    const std::string& to) const {
  const std::pair direction(from, to);
  for (const auto& served : models_)
    if (std::ranges::find(served->directions, direction) != served->directions.end()) return served;
  return nullptr;
}

template <class Make>
std::shared_ptr<const TranslationRoute> ServedModels::kept(const RouteKey& key, const Make& make) const {
  const std::scoped_lock lock(mutex_);
  if (const auto found = routes_.find(key); found != routes_.end()) return found->second;
  const auto model = model_for(std::get<0>(key), std::get<1>(key));
  if (!model) return nullptr;
  return routes_[key] = std::make_shared<const TranslationRoute>(make(model));
}

std::shared_ptr<const TranslationRoute> ServedModels::route(const std::string& from, const std::string& to,
                                                            int64_t nbest, bool links) const {
  return kept({from, to, nbest, links}, [&](const std::shared_ptr<const Served>& model) {
    TranslatorOptions lines = {.from = from,
                               .to = to,
                               .decode = {.beam = std::max(options_.beam, nbest),
                                          .nbest = nbest,
                                          .length_penalty = options_.length_penalty},
                               .on_error = OnError::blank,
                               .sentences = true};
    if (links) lines.alignment = AlignmentOptions{};
    const auto translator =
        std::make_shared<const LineTranslator>(*model->loaded.model, model->loaded.vocabulary, lines);
    return TranslationRoute{
        .run = [model, translator](std::span<const SourceLine> source,
                                   const auto& stopped) { return translator->translate(source, stopped); },
        .shares = translator->independent()};
  });
}

std::shared_ptr<const TranslationRoute> ServedModels::scoring(const std::string& from,
                                                              const std::string& to) const {
  return kept({from, to, 0, false}, [&](const std::shared_ptr<const Served>& model) {
    const auto score = [model, from, to](std::span<const SourceLine> lines, const auto& /*stopped*/) {
      const LoadedModel& loaded = model->loaded;
      const PairTags tags = loaded.vocabulary.pair_tags(from, to);
      const int64_t room = loaded.model->config().max_positions - loaded.vocabulary.tags_and_end();
      std::vector<TranslatedLine> scored(lines.size());
      std::vector<SentencePair> pairs;
      std::vector<size_t> line_of;  // each pair
      for (size_t i = 0; i < lines.size(); ++i) {
        SentencePair pair = {.source = loaded.vocabulary.encode(lines[i].text),
                             .target = loaded.vocabulary.target().encode(lines[i].prefix),
                             .source_tag = tags.source,
                             .target_tag = tags.target,
                             .before_source_tag = tags.before_source};
        if (std::cmp_greater(std::max(pair.source.size(), pair.target.size()), room)) {
          scored[i].fault = fmt::format("{}: more than the {} tokens that the model has positions for",
                                        lines[i].where, room);
          continue;
        }
        pairs.push_back(std::move(pair));
        line_of.push_back(i);
      }
      const std::vector<PairScore> scores = score_pairs(*loaded.model, pairs, kScoringTokens);
      for (size_t i = 0; i < scores.size(); ++i) {
        Translation& one = scored[line_of[i]].best.emplace_back();
        one.score = scores[i].log_probability / static_cast<double>(scores[i].tokens);
        one.log_probability = scores[i].log_probability;
      }
      return scored;
    };
    return TranslationRoute{.run = score, .shares = false};
  });
}

}  // namespace chorus::inline server
