// What clients call this server.
#pragma once

#include <string>
#include <string_view>

namespace chorus::inline server {

/// "example.org" of "example.org:8080" and of "http://example.org", "::1" of "[::1]:8080"; "" of what is none of these.
std::string_view host_of(std::string_view host);

/// A request's target, "/path?query", or with the site before it, as a proxy is asked (RFC 9112, section 3.2.2).
struct Target {
  std::string_view site, path;  // "http://example.org:8080" or "", "/path?query"
};
Target parts_of(std::string_view target);

/// "https://example.org:8080", of the header Host ("": none, and so no site) and of X-Forwarded-Proto, by which a proxy
/// in front says what it speaks itself.
std::string site_of(std::string_view host, std::string_view forwarded);

}  // namespace chorus::inline server
