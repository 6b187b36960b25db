// TOML that may come from anywhere.
#pragma once

#include <string>
#include <string_view>

#include <toml++/toml.h>

namespace chorus::inline config {

/// Parses a document. UserError "ORIGIN:LINE: not TOML: ..." on a syntax error; and on what toml++ does not
/// survive: keys and values nested so deep that its recursion overflows the stack, a table header without a
/// key, characters beyond ASCII outside of strings and comments.
toml::table parse_toml(std::string_view text, std::string_view origin);

}  // namespace chorus::inline config
