// JSON that may come from anywhere: bounded in size and depth, errors in one line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace chorus::inline io {

/// Parses one JSON value, and nothing but white space around it. UserError "WHERE: not valid JSON (byte N)"
/// on a syntax error, a NUL and invalid UTF-8; also on a key that an object has twice, and on nesting deeper
/// than 64, which would make recursive readers overflow the stack.
nlohmann::json parse_json(std::string_view text, const std::string& where);
/// Reads and parses a file of at most 64 MB (UserError beyond).
nlohmann::json read_json(const std::filesystem::path& path);

/// The value, if it is a T as it stands: `true` is no number, 4.0 no whole one, and a number beyond T's range
/// is none of it. For bool, int32_t, int64_t, double (of any number), std::string, and vectors of int32_t,
/// int64_t and std::string.
template <class T>
std::optional<T> exactly(const nlohmann::json& value);
template <>
std::optional<bool> exactly(const nlohmann::json& value);
template <>
std::optional<int32_t> exactly(const nlohmann::json& value);
template <>
std::optional<int64_t> exactly(const nlohmann::json& value);
template <>
std::optional<double> exactly(const nlohmann::json& value);
template <>
std::optional<std::string> exactly(const nlohmann::json& value);
template <>
std::optional<std::vector<int32_t>> exactly(const nlohmann::json& value);
template <>
std::optional<std::vector<int64_t>> exactly(const nlohmann::json& value);
template <>
std::optional<std::vector<std::string>> exactly(const nlohmann::json& value);

/// Text from a file, fit for a one-line message: in double quotes, control and non-ASCII characters escaped,
/// cut at 80.
std::string in_quotes(std::string_view text);

}  // namespace chorus::inline io
