// DeepL's /v2/translate, as far as there is something for it here, and our own /v1/score.
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "server/service.h"

namespace chorus::inline server {

namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kDeeplTexts = 50;

std::string upper(std::string text) {
  for (char& c : text)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return text;
}

}  // namespace

std::shared_ptr<Waiting> Service::deepl(const HttpRequest& request, const Answer& answer) {
  const RequestFields fields(request);
  if (access_.needs_key() && key_of(request, fields).empty()) throw Refusal(403, "An API key is missing");
  RequestFields::Texts texts = fields.texts("text");
  admit(request, fields, texts.texts);
  if (texts.texts.empty()) throw Refusal(400, "Parameter 'text' not specified");
  if (std::ssize(texts.texts) > kDeeplTexts)
    throw Refusal(400, fmt::format("More than {} texts", kDeeplTexts));
  const std::string target = fields.text("target_lang"), source = fields.text("source_lang");
  if (target.empty()) throw Refusal(400, "Parameter 'target_lang' not specified");
  const std::string tags = fields.text("tag_handling");
  if (!tags.empty() && tags != "html")
    throw Refusal(400, "Parameter 'tag_handling' is not supported, but for html");
  if (!fields.text("glossary_id").empty()) throw Refusal(400, "Parameter 'glossary_id' is not supported");
  const std::string formality = fields.text("formality");
  if (formality == "more" || formality == "less")
    throw Refusal(400, "Parameter 'formality' is not supported");
  const auto reply = [source](const Made& made) {
    Json translations = Json::array();
    for (const std::vector<std::string>& translated : made.texts) {
      translations.push_back(
          {{"detected_source_language", upper(made.detected ? made.detected->language : source)},
           {"text", translated.front()}});
    }
    return json_reply({{"translations", translations}});
  };
  return translate({.texts = std::move(texts.texts),
                    .source = source.empty() ? "auto" : source,
                    .target = target,
                    .format = tags.empty() ? DocumentFormat::text : DocumentFormat::html},
                   reply, answer);
}

std::shared_ptr<Waiting> Service::score(const HttpRequest& request, const Answer& answer) {
  const RequestFields fields(request);
  const std::vector<std::string> texts = fields.texts("q").texts,
                                 translations = fields.texts("translation").texts;
  std::vector<std::string> both = texts;
  both.insert(both.end(), translations.begin(), translations.end());
  admit(request, fields, both);
  require(fields, {"source", "target"});
  check(both, limits_.characters);
  if (texts.empty() || texts.size() != translations.size())
    throw Refusal(400, "Invalid request: q and translation are lists of as many texts");
  const auto models = this->models();
  const std::string from = language(*models, fields.text("source")),
                    to = language(*models, fields.text("target"));
  const auto route = models->scoring(from, to);
  if (!route) throw Refusal(400, not_available(from, to));
  std::vector<SourceLine> lines;
  lines.reserve(texts.size());
  for (size_t i = 0; i < texts.size(); ++i)
    lines.push_back({.text = texts[i], .prefix = translations[i], .where = fmt::format("pair {}", i + 1)});
  return submit(
      route, std::move(lines), limits_.timeout, answer, [](const std::vector<TranslatedLine>& scored) {
        Json scores = Json::array();
        for (const TranslatedLine& line : scored)
          scores.push_back(
              {{"score", line.best.front().score}, {"logProbability", line.best.front().log_probability}});
        return HttpReply{.body = Json{{"scores", scores}}.dump()};
      });
}

}  // namespace chorus::inline server
