#include "server/internal/site.h"

#include <boost/beast/core/string.hpp>
#include <fmt/format.h>

namespace chorus::inline server {

std::string_view host_of(std::string_view host) {
  if (const size_t scheme = host.find("://"); scheme != std::string_view::npos)
    host.remove_prefix(scheme + 3);
  if (host.starts_with('[')) return host.substr(1, host.find(']') - 1);
  return host.substr(0, host.find(':'));
}

std::string site_of(std::string_view host, std::string_view forwarded) {
  if (host.empty()) return "";
  return fmt::format("{}://{}", boost::beast::iequals(forwarded, "https") ? "https" : "http", host);
}

}  // namespace chorus::inline server
