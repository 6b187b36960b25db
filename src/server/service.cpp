#include "server/service.h"

#include <algorithm>
#include <exception>
#include <utility>

#include <boost/beast/core/string.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/message.h"
#include "base/text.h"
#include "base/utf8.h"
#include "io/json.h"
#include "server/asked_texts.h"

#include "server/internal/openapi.h"
#include "server/internal/web_page.h"

namespace chorus::inline server {

namespace {

constexpr std::string_view kAuto = "auto", kDownloads = "/download_file/";

/// `data`: JSON on one line.
HttpReply event_reply(std::string_view name, const std::string& data, bool more) {
  return {
      .body = fmt::format("event: {}\ndata: {}\n\n", name, data), .type = "text/event-stream", .more = more};
}

void bound(int64_t size, int64_t limit, std::string_view unit = "") {
  if (size > limit)
    throw Refusal(400,
                  fmt::format("Invalid request: request ({}{}) exceeds text limit ({})", size, unit, limit));
}

/// What a client wrote, in a message.
std::string said_back(const std::string& text) {
  constexpr size_t kLongest = 32;  // as it is
  return text.size() > kLongest ? in_quotes(text) : one_line(text);
}

std::string line_event(size_t line, size_t count, const std::string& text) {
  return nlohmann::ordered_json{{"line", line}, {"lines", count}, {"translatedText", text}}.dump(
      -1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

Service::Service(std::shared_ptr<const ServedModels> models, std::vector<AccessKey> keys,
                 const ServiceLimits& limits)
    : access_(std::move(keys)),
      documents_(limits.kept),
      limits_(limits),
      models_(std::move(models)),
      batcher_(limits.batches) {}

std::shared_ptr<const ServedModels> Service::models() const {
  const std::scoped_lock lock(mutex_);
  return models_;
}

void Service::replace(std::shared_ptr<const ServedModels> models) {
  const std::scoped_lock lock(mutex_);
  models_.swap(models);  // the old ones are freed without the lock
}

std::shared_ptr<Waiting> Service::handle(const HttpRequest& request, Answer answer) {
  const auto begun = std::chrono::steady_clock::now();
  const bool deepl = request.path.starts_with("/v2/");
  const Answer counted = [this, begun, deepl, path = request.path,
                          answer = std::move(answer)](HttpReply reply) {
    if (reply.more) return answer(std::move(reply));
    constexpr std::string_view kError = R"({"error":)";
    if (deepl && reply.status >= 400 && reply.body.starts_with(kError))
      reply.body.replace(0, kError.size(), R"({"message":)");
    const std::string endpoint = reply.status == 404            ? kOther
                                 : path.starts_with(kDownloads) ? std::string(kDownloads)
                                                                : path;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begun;
    counters_.count(endpoint, reply.outcome > 0 ? reply.outcome : reply.status, passed.count());
    answer(std::move(reply));
  };
  try {
    return dispatch(request, counted);
  } catch (const Refusal& refusal) {
    counted(error_reply(refusal.status(), refusal.what(), refusal.retry()));
  } catch (const std::exception& error) {
    // What it says may name a path, and is for the log.
    log_warning("a request failed: {}", message_line(error.what()));
    counted(error_reply(500, "Internal error"));
  }
  return nullptr;
}

std::shared_ptr<Waiting> Service::dispatch(const HttpRequest& request, const Answer& answer) {
  struct Endpoint {
    std::string_view method, path;
    std::function<std::shared_ptr<Waiting>()> run;
  };
  const auto at_once = [&](auto make) {
    return [&answer, make]() -> std::shared_ptr<Waiting> {
      answer(make());
      return nullptr;
    };
  };
  const auto ready = [&] {
    return draining_ ? error_reply(503, "Shutting down") : HttpReply{.body = R"({"status":"ready"})"};
  };
  const Endpoint endpoints[] = {
      {"GET", "/", at_once(web_page)},
      {"POST", "/translate_file", [&] { return translate_file(request, answer); }},
      {"POST", "/translate", [&] { return libretranslate(request, answer); }},
      {"POST", "/v2/translate", [&] { return deepl(request, answer); }},
      {"POST", "/v1/score", [&] { return score(request, answer); }},
      {"POST", "/detect", at_once([&] { return detected(request); })},
      {"GET", "/languages", at_once([&] { return languages(); })},
      {"GET", "/frontend/settings", at_once([&] { return frontend_settings(); })},
      {"GET", kDownloads, at_once([&] { return download(request.path.substr(kDownloads.size())); })},
      {"GET", "/metrics", at_once([&] { return metrics(request); })},
      {"GET", "/spec", at_once([] { return HttpReply{.body = std::string(openapi())}; })},
      {"GET", "/health", at_once([] { return HttpReply{.body = R"({"status":"ok"})"}; })},
      {"GET", "/ready", at_once(ready)},
  };
  std::string_view allowed;
  const bool is_download = request.path.starts_with(kDownloads);
  for (const Endpoint& endpoint : endpoints) {
    if (endpoint.path != (is_download ? kDownloads : std::string_view(request.path))) continue;
    // HEAD is answered as GET, of which a connection then leaves the body away.
    if (endpoint.method == (request.method == "HEAD" ? "GET" : request.method)) return endpoint.run();
    allowed = endpoint.method == "GET" ? "GET, HEAD, OPTIONS" : "POST, OPTIONS";
  }
  if (request.path == "*" && request.method == "OPTIONS") allowed = "GET, HEAD, POST, OPTIONS";
  if (allowed.empty()) throw Refusal(404, "Not found");
  HttpReply reply = request.method == "OPTIONS" ? HttpReply{} : error_reply(405, "Method not allowed");
  reply.headers.emplace_back("Allow", allowed);
  answer(std::move(reply));
  return nullptr;
}

HttpReply Service::metrics(const HttpRequest& request) {
  admit(request, RequestFields(request), {});
  return {.body = counters_.text(batcher_.load()), .type = "text/plain; version=0.0.4"};
}

std::string Service::key_of(const HttpRequest& request, const RequestFields& fields) {
  if (std::string key = fields.text("api_key"); !key.empty()) return key;
  for (const std::string_view scheme : {"Bearer ", "DeepL-Auth-Key "})
    if (boost::beast::iequals(request.authorization.substr(0, scheme.size()), scheme))
      return request.authorization.substr(scheme.size());
  return "";
}

void Service::admit(const HttpRequest& request, const RequestFields& fields,
                    std::span<const std::string> texts) {
  int64_t characters = 0;
  for (const std::string& text : texts) characters += static_cast<int64_t>(count_code_points(text));
  access_.admit(key_of(request, fields), characters);
  counters_.count_characters(characters);
}

void Service::check(std::span<const std::string> texts, int64_t characters) const {
  bound(std::ssize(texts), limits_.texts);
  int64_t count = 0;
  for (const std::string& text : texts) count += static_cast<int64_t>(count_code_points(text));
  bound(count, characters);
}

std::string Service::language(const ServedModels& models, const std::string& code) {
  const auto found = models.codes().find(code);
  if (!found) throw Refusal(400, fmt::format("{} is not supported", said_back(code)));
  return *found;
}

std::string Service::not_available(const std::string& from, const std::string& to) {
  return fmt::format("{} ({}) is not available as a target language from {} ({})", language_name(to), to,
                     language_name(from), from);
}

std::shared_ptr<Waiting> Service::translate(const Asked& asked, MakeReply make_reply, const Answer& answer) {
  check(asked.texts,
        asked.document ? std::max(limits_.characters, limits_.document_characters) : limits_.characters);
  const auto models = this->models();
  const std::string to = language(*models, asked.target);
  Made made;
  std::string source = asked.source;
  if (source == kAuto) {
    if (asked.format == DocumentFormat::tmx)
      throw Refusal(400, "Name the language that a TMX document is to be translated from");
    std::string all;
    const AskedTexts without_markup(asked.texts, asked.format, {});
    for (const SourceLine& line : without_markup.lines()) all += line.text + "\n";
    std::vector<DetectedLanguage> found = models->detector().detect(all);
    // Where there is nothing to translate, no language is the wrong one.
    if (all.empty()) found = {{.language = to, .confidence = 0}};
    if (found.empty())
      throw Refusal(400, "The language of the text was not recognized: name the source language");
    made.detected = found.front();
    source = found.front().language;
  }
  const std::string from = language(*models, source);
  if (from == to) {
    for (const std::string& text : asked.texts) made.texts.push_back({text});
    HttpReply reply = make_reply(std::move(made));
    answer(asked.events ? event_reply("done", reply.body, false) : std::move(reply));
    return nullptr;
  }
  const auto texts =
      std::make_shared<const AskedTexts>(asked.texts, asked.format, DocumentLanguages{from, to});
  bound(std::ssize(texts->lines()), limits_.lines, " lines");
  const auto route = models->route(from, to, asked.alternatives + 1, texts->has_markup());
  if (!route) throw Refusal(400, not_available(from, to));
  const auto reply = [texts, made = std::move(made),
                      make_reply = std::move(make_reply)](const std::vector<TranslatedLine>& lines) {
    Made whole = made;
    whole.texts = texts->texts(lines);
    return make_reply(std::move(whole));
  };
  const auto timeout = limits_.timeout * (asked.document ? limits_.document_timeouts : 1);
  if (!asked.events) return submit(route, texts->lines(), timeout, answer, reply);
  const auto begun = std::make_shared<std::atomic<bool>>(false);
  const auto progress = [answer, begun, texts](size_t line, const TranslatedLine& made_of) {
    if (made_of.best.empty()) return;
    *begun = true;
    const std::string& made_text = made_of.best.front().text;
    const std::string& text = made_text.empty() ? texts->lines()[line].text : made_text;
    answer(event_reply("line", line_event(line, texts->lines().size(), text), true));
  };
  const Answer last = [answer, begun](HttpReply end) {
    const bool done = end.status == 200;
    if (!done && !*begun) return answer(std::move(end));
    HttpReply event = event_reply(done ? "done" : "error", end.body, false);
    event.outcome = end.status;
    answer(std::move(event));
  };
  return submit(route, texts->lines(), timeout, last, reply, progress);
}

std::shared_ptr<Waiting> Service::submit(std::shared_ptr<const TranslationRoute> route,
                                         std::vector<SourceLine> lines, std::chrono::milliseconds timeout,
                                         const Answer& answer,
                                         std::function<HttpReply(const std::vector<TranslatedLine>&)> reply,
                                         std::function<void(size_t line, const TranslatedLine&)> progress) {
  const auto finish = [answer, reply = std::move(reply), timeout](
                          JobEnd end, const std::vector<TranslatedLine>& translated) {
    const auto bad =
        std::ranges::find_if(translated, [](const TranslatedLine& line) { return line.best.empty(); });
    if (end == JobEnd::late) {
      answer(error_reply(
          504, fmt::format("It took longer than {} s", std::chrono::duration<double>(timeout).count())));
    } else if (end == JobEnd::failed) {
      answer(error_reply(500, "Cannot translate text"));
    } else if (bad != translated.end()) {
      answer(error_reply(400, "Cannot translate " + bad->fault));
    } else {
      try {
        answer(reply(translated));
      } catch (const std::exception& error) {
        log_warning("a reply failed: {}", message_line(error.what()));
        answer(error_reply(500, "Internal error"));
      }
    }
  };
  auto waiting = batcher_.submit({.route = std::move(route),
                                  .lines = std::move(lines),
                                  .deadline = TranslationJob::Clock::now() + timeout,
                                  .finish = finish,
                                  .progress = std::move(progress)});
  if (!waiting) throw Refusal(429, "Slowdown: too many texts are waiting", 1);
  return waiting;
}

}  // namespace chorus::inline server
