// LibreTranslate's interface, as of 1.9: its fields, its replies and its errors.
#include "server/internal/libretranslate.h"

#include <algorithm>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "server/service.h"

namespace chorus::inline server {

namespace {

using Json = nlohmann::ordered_json;

/// What differs from the translation, each once.
std::vector<std::string> alternatives_of(const std::vector<std::string>& translations) {
  std::set<std::string_view> seen = {translations.front(), ""};
  std::vector<std::string> others;
  std::ranges::copy_if(translations, std::back_inserter(others),
                       [&](const std::string& text) { return seen.insert(text).second; });
  return others;
}

}  // namespace

Json confidence_of(const DetectedLanguage& one) {
  return {{"confidence", one.confidence}, {"language", one.language}};
}

void Service::require(const RequestFields& fields, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const RequestFields::Texts value = fields.texts(name);
    const bool empty = value.texts.empty() || (!value.list && value.texts.front().empty());
    if (empty) throw Refusal(400, fmt::format("Invalid request: missing {} parameter", name));
  }
}

std::shared_ptr<Waiting> Service::libretranslate(const HttpRequest& request, const Answer& answer) {
  const RequestFields fields(request);
  RequestFields::Texts q = fields.texts("q");
  admit(request, fields, q.texts);
  require(fields, {"q", "source", "target"});
  const std::string format = fields.text("format");
  const bool html = format == "html";
  if (!html && !format.empty() && format != "text")
    throw Refusal(400, fmt::format("{} format is not supported", format));
  const bool list = q.list || q.texts.size() > 1;
  const int64_t alternatives = fields.number("alternatives", 0, limits_.alternatives);
  const auto reply = [list, alternatives](const Made& made) {
    Json texts = Json::array(), others = Json::array(), detected = Json::array();
    for (const std::vector<std::string>& translations : made.texts) {
      texts.push_back(translations.front());
      others.push_back(alternatives_of(translations));
      if (made.detected) detected.push_back(confidence_of(*made.detected));
    }
    const auto all = [&](const Json& of_each) { return list ? of_each : of_each.front(); };
    Json json;
    if (alternatives > 0) json["alternatives"] = all(others);
    if (made.detected) json["detectedLanguage"] = all(detected);
    json["translatedText"] = all(texts);
    return json_reply(json);
  };
  return translate({.texts = std::move(q.texts),
                    .source = fields.text("source"),
                    .target = fields.text("target"),
                    .format = html ? DocumentFormat::html : DocumentFormat::text,
                    .alternatives = alternatives,
                    .events = request.accept.find("text/event-stream") != std::string::npos},
                   reply, answer);
}

HttpReply Service::detected(const HttpRequest& request) {
  const RequestFields fields(request);
  const std::vector<std::string> texts = fields.texts("q").texts;
  admit(request, fields, texts);
  require(fields, {"q"});
  check(texts, limits_.characters);
  std::string all;
  for (const std::string& text : texts) all += text + "\n";
  Json json = Json::array();
  for (const DetectedLanguage& one : models()->detector().detect(all)) json.push_back(confidence_of(one));
  // Clients look at the first.
  if (json.empty())
    json.push_back(confidence_of({.language = models()->languages().front().code, .confidence = 0}));
  return json_reply(json);
}

HttpReply Service::languages() const {
  Json json = Json::array();
  for (const ServedLanguage& language : models()->languages())
    json.push_back({{"code", language.code}, {"name", language.name}, {"targets", language.targets}});
  return json_reply(json);
}

HttpReply Service::frontend_settings() const {
  const auto models = this->models();
  const ServedLanguage& first = models->languages().front();
  const std::string target = first.targets.empty() ? first.code : first.targets.front();
  const auto language = [](const std::string& code, const std::string& name) {
    return Json{{"code", code}, {"name", name}};
  };
  return json_reply(
      {{"apiKeys", access_.needs_key()},
       {"charLimit", limits_.characters},
       {"filesTranslation", true},
       {"frontendTimeout", 500},
       {"keyRequired", access_.needs_key()},
       {"language",
        {{"source", language("auto", "Auto Detect")}, {"target", language(target, language_name(target))}}},
       {"suggestions", false},
       {"supportedFilesFormat", file_extensions()}});
}

}  // namespace chorus::inline server
