// LibreTranslate's documents: /translate_file, which tells where the translation may be fetched.
#include <algorithm>
#include <array>
#include <utility>

#include <boost/beast/core/string.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/utf8.h"
#include "server/service.h"

#include "server/internal/libretranslate.h"

namespace chorus::inline server {

namespace {

constexpr std::array<std::pair<std::string_view, DocumentFormat>, 8> kExtensions = {
    {{".txt", DocumentFormat::text},
     {".html", DocumentFormat::html},
     {".htm", DocumentFormat::html},
     {".md", DocumentFormat::markdown},
     {".markdown", DocumentFormat::markdown},
     {".srt", DocumentFormat::srt},
     {".vtt", DocumentFormat::vtt},
     {".tmx", DocumentFormat::tmx}}};
constexpr size_t kLongestName = 200;  // bytes
constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

/// "letter" and ".TXT" of "C:\letters\letter.TXT".
std::pair<std::string, std::string> stem_and_extension(std::string_view file_name) {
  std::string_view name = file_name.substr(file_name.find_last_of("/\\") + 1);
  const size_t dot = std::min(name.rfind('.'), name.size());
  std::string_view stem = name.substr(0, std::min(dot, kLongestName));
  while (!is_valid_utf8(stem)) stem.remove_suffix(1);
  return {std::string(stem), std::string(name.substr(dot))};
}

std::string encode_url(std::string_view text) {
  std::string encoded;
  for (const char c : text) {
    if (kPlain.find(c) != std::string_view::npos)
      encoded += c;
    else
      encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return encoded;
}

}  // namespace

std::vector<std::string> Service::file_extensions() {
  std::vector<std::string> names;
  names.reserve(kExtensions.size());
  for (const auto& [extension, format] : kExtensions) names.emplace_back(extension);
  return names;
}

std::shared_ptr<Waiting> Service::translate_file(const HttpRequest& request, const Answer& answer) {
  const RequestFields fields(request);
  const RequestFields::File* const file = fields.file("file");
  const std::vector<std::string> texts = {file ? file->bytes : ""};
  // A NUL is UTF-8, but no text: UTF-16, or a program's file with another's name.
  if (!is_valid_utf8(texts[0]) || texts[0].find('\0') != std::string::npos)
    throw Refusal(400, "Invalid request: the document is not text in UTF-8");
  admit(request, fields, texts);
  if (!file) throw Refusal(400, "Invalid request: missing file parameter");
  require(fields, {"source", "target"});
  const std::pair<std::string, std::string> name_parts = stem_and_extension(file->name);
  const std::string &stem = name_parts.first, &extension = name_parts.second;
  const auto* const found = std::ranges::find_if(
      kExtensions, [&](const auto& known) { return boost::beast::iequals(known.first, extension); });
  if (found == kExtensions.end()) {
    throw Refusal(400, fmt::format("Invalid request: file format not supported; a name ends in {}",
                                   join(file_extensions(), ", ")));
  }
  const std::string target = fields.text("target");
  const auto reply = [this, name = fmt::format("{}.{}{}", stem, target, extension),
                      site = request.site](Made made) {
    const std::string word = documents_.keep({name, std::move(made.texts.front().front())});
    nlohmann::ordered_json json = {
        {"translatedFileUrl", fmt::format("{}/download_file/{}/{}", site, word, encode_url(name))}};
    if (made.detected) json["detectedLanguage"] = confidence_of(*made.detected);
    return json_reply(json);
  };
  return translate({.texts = texts,
                    .source = fields.text("source"),
                    .target = target,
                    .format = found->second,
                    .document = true,
                    .events = request.accept.find("text/event-stream") != std::string::npos},
                   reply, answer);
}

HttpReply Service::download(std::string_view path) {
  const auto document = documents_.find(path.substr(0, path.find('/')));
  if (!document) throw Refusal(404, "Not found: a translated document is kept for some minutes only");
  std::string plain = document->name;
  for (char& c : plain)
    if (kPlain.find(c) == std::string_view::npos) c = '_';
  // Whatever is in it, a browser is not to run it as a page of this server.
  return {.body = document->bytes,
          .type = "application/octet-stream",
          .headers = {{"Content-Disposition", fmt::format("attachment; filename=\"{}\"; filename*=UTF-8''{}",
                                                          plain, encode_url(document->name))},
                      {"Content-Security-Policy", "sandbox"}}};
}

}  // namespace chorus::inline server
