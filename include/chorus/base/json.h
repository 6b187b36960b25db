// JSON that may come from anywhere: bounded in size and depth, errors in one line.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace chorus {

/// Parses one JSON value. UserError "WHERE: not valid JSON (byte N)" on a syntax error, on invalid UTF-8, and
/// on nesting deeper than 64, which would make recursive readers overflow the stack.
nlohmann::json parse_json(std::string_view text, const std::string& where);
/// The same for a file of at most 64 MB (UserError beyond).
nlohmann::json read_json(const std::filesystem::path& path);

/// Text from a file, fit for a one-line message: in double quotes, control and non-ASCII characters escaped,
/// cut at 80.
std::string in_quotes(std::string_view text);

}  // namespace chorus
