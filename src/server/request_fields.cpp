#include "server/request_fields.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "base/utf8.h"
#include "io/json.h"
#include "server/multipart.h"

namespace chorus::inline server {

namespace {

constexpr size_t kMostPairs = 1000;  // of a form

[[noreturn]] void refuse(const std::string& what) {
  throw Refusal(400, "Invalid request: " + what);
}

/// "application/json" of "Application/JSON; charset=utf-8".
std::string media_type(std::string_view content_type) {
  std::string type(trim(content_type.substr(0, content_type.find(';'))));
  for (char& c : type)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return type;
}

int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

HttpReply json_reply(const nlohmann::ordered_json& json) {
  return {.body = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)};
}

HttpReply error_reply(int status, const std::string& what, int retry) {
  HttpReply reply = json_reply({{"error", what}});
  reply.status = status;
  if (retry > 0) reply.headers.emplace_back("Retry-After", std::to_string(retry));
  return reply;
}

std::string decode_url(std::string_view text, char plus) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i] == '+' ? plus : text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? digit_of(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? digit_of(text[i + 2]) : -1;
    if (high < 0 || low < 0) refuse("a % without two digits");
    decoded += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return decoded;
}

RequestFields::RequestFields(const HttpRequest& request) {
  read_pairs(request.query);
  const std::string type = media_type(request.content_type);
  if (type == "application/json") {
    read_json(request.body);
  } else if (type == "application/x-www-form-urlencoded" || request.body.empty()) {
    read_pairs(request.body);
  } else if (type == "multipart/form-data") {
    read_parts(request);
  } else {
    refuse("a body is application/json, application/x-www-form-urlencoded or multipart/form-data");
  }
}

void RequestFields::read_json(std::string_view body) {
  nlohmann::json json;
  try {
    json = parse_json(body, "the body");
  } catch (const UserError& error) {
    refuse(error.what());
  }
  if (!json.is_object()) throw Refusal(400, "Invalid JSON format");
  for (auto& [name, value] : json.items()) {
    Texts texts;
    if (const auto list = exactly<std::vector<std::string>>(value)) {
      texts = {*list, true};
    } else if (value.is_string()) {
      texts = {{value.get<std::string>()}, false};
    } else if (value.is_boolean() || value.is_number_integer()) {
      texts = {{value.dump()}, false};
    } else if (value.is_null()) {
      continue;
    } else {
      refuse(fmt::format("{} is neither a text, a whole number nor a list of texts", in_quotes(name)));
    }
    fields_[name] = std::move(texts);
  }
}

void RequestFields::read_pairs(std::string_view text) {
  if (text.empty()) return;
  const std::vector<std::string_view> pairs = split(text, '&');
  if (pairs.size() > kMostPairs) refuse(fmt::format("more than {} parameters", kMostPairs));
  for (const std::string_view pair : pairs) {
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    std::string name = decode_url(pair.substr(0, equals)), value = decode_url(pair.substr(equals + 1));
    if (!is_valid_utf8(name) || !is_valid_utf8(value)) refuse("a parameter is not UTF-8");
    fields_[std::move(name)].texts.push_back(std::move(value));
  }
}

void RequestFields::read_parts(const HttpRequest& request) {
  for (FormPart& part : read_multipart(request.content_type, request.body)) {
    if (part.file_name) {
      File file = {std::move(*part.file_name), std::string(part.data)};
      if (!files_.emplace(std::move(part.name), std::move(file)).second) refuse("two files of one name");
    } else {
      if (!is_valid_utf8(part.name) || !is_valid_utf8(part.data)) refuse("a parameter is not UTF-8");
      fields_[std::move(part.name)].texts.emplace_back(part.data);
    }
  }
}

const RequestFields::File* RequestFields::file(const std::string& name) const {
  const auto found = files_.find(name);
  return found == files_.end() ? nullptr : &found->second;
}

std::string RequestFields::text(const std::string& name) const {
  const auto found = fields_.find(name);
  if (found == fields_.end()) return "";
  if (found->second.list || found->second.texts.size() != 1) refuse(fmt::format("{} is one text", name));
  return found->second.texts.front();
}

RequestFields::Texts RequestFields::texts(const std::string& name) const {
  const auto found = fields_.find(name);
  return found == fields_.end() ? Texts() : found->second;
}

int64_t RequestFields::number(const std::string& name, int64_t fallback, int64_t most) const {
  const std::string digits = text(name);
  if (digits.empty()) return fallback;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc() || end != digits.data() + digits.size())
    refuse(fmt::format("{} parameter is not a number", name));
  if (value > most) refuse(fmt::format("{} parameter must be <= {}", name, most));
  return std::max<int64_t>(value, 0);
}

}  // namespace chorus::inline server
