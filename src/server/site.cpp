#include "server/internal/site.h"

#include <algorithm>

#include <boost/beast/core/string.hpp>
#include <fmt/format.h>

namespace chorus::inline server {

std::string_view host_of(std::string_view host) {
  if (const size_t scheme = host.find("://"); scheme != std::string_view::npos)
    host.remove_prefix(scheme + 3);
  const bool bracketed = host.starts_with('[');
  const size_t end = std::min(bracketed ? host.find(']') : host.find(':'), host.size());
  std::string_view port = host.substr(end);
  if (bracketed && !port.empty()) port.remove_prefix(1);
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  if (!port.empty() && (port.front() != ':' || !std::ranges::all_of(port.substr(1), is_digit))) return "";
  return host.substr(bracketed ? 1 : 0, bracketed ? end - 1 : end);
}

Target parts_of(std::string_view target) {
  const size_t scheme = target.find("://");
  if (target.starts_with('/') || scheme == std::string_view::npos) return {.site = {}, .path = target};
  const size_t path = target.find_first_of("/?", scheme + 3);
  if (path == std::string_view::npos) return {.site = target, .path = "/"};
  return {.site = target.substr(0, path), .path = target.substr(path)};
}

std::string site_of(std::string_view host, std::string_view forwarded) {
  if (host.empty()) return "";
  return fmt::format("{}://{}", boost::beast::iequals(forwarded, "https") ? "https" : "http", host);
}

}  // namespace chorus::inline server
