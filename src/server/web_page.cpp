#include "server/internal/web_page.h"

#include <string>

#include <fmt/format.h>

#include "server/kept_documents.h"

namespace chorus::inline server {

HttpReply web_page() {
  const std::string nonce = random_word();
  const auto value_of = [&](std::string_view name) -> std::string_view {
    return name == "STYLE" ? kWebPageStyle : name == "SCRIPT" ? kWebPageScript : std::string_view(nonce);
  };
  std::string page;
  std::string_view left = kWebPageHtml;
  while (true) {
    const size_t begin = left.find('%'), end = left.find('%', begin + 1);
    page += left.substr(0, begin);
    if (end == std::string_view::npos) break;
    page += value_of(left.substr(begin + 1, end - begin - 1));
    left.remove_prefix(end + 1);
  }
  return {.body = std::move(page),
          .type = "text/html; charset=utf-8",
          .headers = {{"Content-Security-Policy",
                       fmt::format("default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; "
                                   "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
                                   "frame-ancestors 'none'",
                                   nonce)},
                      {"Referrer-Policy", "no-referrer"}}};
}

}  // namespace chorus::inline server
