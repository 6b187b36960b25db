// Text as the metrics see it: Python's white space (base/utf8.h), Unicode lower case.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline metrics {

/// Strips the end as Python's str.rstrip() does.
std::u32string_view strip_end(std::u32string_view text);

/// Splits as Python's str.split() does: returns the runs of characters between white space, views into `text`.
std::vector<std::u32string_view> split(std::u32string_view text);

/// Full Unicode lower case, independent of language (final sigma included). Error on more than 2 GiB.
std::string lower(std::string_view utf8);

}  // namespace chorus::inline metrics
