#include "server/multipart.h"

#include <algorithm>
#include <utility>

#include <boost/beast/core/string.hpp>
#include <fmt/format.h>

#include "base/text.h"
#include "server/request_fields.h"

namespace chorus::inline server {

namespace {

namespace beast = boost::beast;

constexpr size_t kMostParts = 100, kLongestHead = 8 << 10, kLongestBoundary = 70;
constexpr std::string_view kLineEnd = "\r\n";

[[noreturn]] void refuse_form(const std::string& what) {
  throw Refusal(400, "Invalid request: a form of several parts " + what);
}

/// `name` of `form-data; name="q"; filename="a \"b\".txt"`, without its quotes.
std::optional<std::string> parameter(std::string_view header, std::string_view name) {
  size_t at = header.find(';');
  while (at < header.size()) {
    const size_t equals = header.find('=', ++at);
    if (equals == std::string_view::npos) return {};
    const bool found = beast::iequals(trim(header.substr(at, equals - at)), name);
    std::string value;
    at = header.find_first_not_of(' ', equals + 1);
    if (at < header.size() && header[at] == '"') {
      for (++at; at < header.size() && header[at] != '"'; ++at) {
        const bool escaped =
            header[at] == '\\' && at + 1 < header.size() && (header[at + 1] == '"' || header[at + 1] == '\\');
        if (escaped) ++at;
        value += header[at];
      }
      at = header.find(';', at);
    } else {
      at = header.find(';', equals);
      value = trim(header.substr(equals + 1, std::min(at, header.size()) - equals - 1));
    }
    if (found) return value;
  }
  return {};
}

/// Returns the name in `UTF-8'en'gr%C3%BCn.txt`, as RFC 8187 writes it; nothing of one in other characters.
std::optional<std::string> encoded_name(std::string_view value) {
  const size_t charset = value.find('\''), language = value.find('\'', charset + 1);
  if (language == std::string_view::npos || !beast::iequals(value.substr(0, charset), "UTF-8")) return {};
  return decode_url(value.substr(language + 1), '+');
}

/// Browsers write a quote so, whatever RFC 7578 says.
std::string with_quotes(std::string name) {
  constexpr std::string_view kQuote = "%22";
  for (size_t at = 0; (at = name.find(kQuote, at)) != std::string::npos; ++at)
    name.replace(at, kQuote.size(), "\"");
  return name;
}

FormPart part_of(std::string_view head, std::string_view data) {
  constexpr std::string_view kDisposition = "content-disposition";
  while (!head.empty()) {
    const size_t end = std::min(head.find(kLineEnd), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + kLineEnd.size(), head.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || !beast::iequals(trim(line.substr(0, colon)), kDisposition))
      continue;
    const std::string_view value = line.substr(colon + 1);
    std::optional<std::string> name = parameter(value, "name"), file = parameter(value, "filename");
    if (file) file = with_quotes(std::move(*file));
    if (const auto encoded = parameter(value, "filename*")) {
      if (auto decoded = encoded_name(*encoded)) file = std::move(decoded);
    }
    if (name) return {std::move(*name), std::move(file), data};
  }
  refuse_form("has one without a name");
}

}  // namespace

std::vector<FormPart> read_multipart(std::string_view content_type, std::string_view body) {
  const std::optional<std::string> boundary = parameter(content_type, "boundary");
  if (!boundary || boundary->empty() || boundary->size() > kLongestBoundary) refuse_form("has no boundary");
  const std::string delimiter = fmt::format("{}--{}", kLineEnd, *boundary);
  // The first may stand at the very beginning, without the line end before it.
  size_t at =
      body.starts_with(std::string_view(delimiter).substr(kLineEnd.size())) ? 0 : body.find(delimiter);
  if (at == std::string_view::npos) refuse_form("has none");
  at += delimiter.size() - (at == 0 && !body.starts_with(kLineEnd) ? kLineEnd.size() : 0);
  std::vector<FormPart> parts;
  while (!body.substr(at).starts_with("--")) {
    at = std::min(body.find_first_not_of(" \t", at), body.size());
    if (!body.substr(at).starts_with(kLineEnd)) refuse_form("is cut");
    if (parts.size() == kMostParts) refuse_form(fmt::format("has more than {} of them", kMostParts));
    // The line end of the delimiter may be that of an empty head, too.
    const size_t blank = body.find("\r\n\r\n", at);
    if (blank == std::string_view::npos) refuse_form("is cut");
    const size_t begin = at + kLineEnd.size(), data = blank + 2 * kLineEnd.size();
    if (blank > begin + kLongestHead) refuse_form("has one with a long head");
    const size_t end = body.find(delimiter, data);
    if (end == std::string_view::npos) refuse_form("is cut");
    parts.push_back(part_of(blank > begin ? body.substr(begin, blank - begin) : std::string_view(),
                            body.substr(data, end - data)));
    at = end + delimiter.size();
  }
  return parts;
}

}  // namespace chorus::inline server
