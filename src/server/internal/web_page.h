// The page at "/": one file, of those of src/server/page, which the build puts into the program.
#pragma once

#include <string_view>

#include "server/http_message.h"

namespace chorus::inline server {

extern const std::string_view kWebPageHtml;  // with %STYLE% and %SCRIPT% for the others, and %NONCE%
extern const std::string_view kWebPageStyle;
extern const std::string_view kWebPageScript;

/// The page, and what it may do: run its own script, ask this server, and nothing else.
HttpReply web_page();

}  // namespace chorus::inline server
