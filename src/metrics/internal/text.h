// Text as the metrics see it: code points, Python's white space, Unicode lower case.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline metrics {

/// Ill-formed bytes become U+FFFD.
std::u32string decode(std::string_view utf8);
std::string encode(std::u32string_view text);

/// What Python's str.isspace() says: Unicode's White_Space and U+001C to U+001F.
bool is_space(char32_t c);

std::u32string_view strip_end(std::u32string_view text);

/// The runs of characters between white space; views into `text`.
std::vector<std::u32string_view> split(std::u32string_view text);

/// Full Unicode lower case, independent of language (final sigma included). Error on more than 2 GiB.
std::string lower(std::string_view utf8);

}  // namespace chorus::inline metrics
