// How options are written: shared by the reader (errors, bare strings) and the printer.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "config/options.h"

namespace chorus::inline config {

inline constexpr size_t kMaxOptionBytes = size_t{1} << 20;  // of a file of options

/// `text` as a TOML basic string, quotes included.
std::string toml_quote(std::string_view text);
/// The value a target now has, as TOML on one line. Not for lists of tables.
std::string toml_value(const Schema::Target& target);
/// What an option takes, in words: "a whole number", "one of a, b", "a list of strings".
std::string type_words(const Schema::Target& target);
/// "section.key", or "key" outside any section.
std::string full_name(std::string_view section, std::string_view key);

}  // namespace chorus::inline config
