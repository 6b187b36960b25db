#include "io/json.h"

#include <set>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/files.h"

namespace chorus::inline io {
namespace {

constexpr int kDeepest = 64;
constexpr uintmax_t kLargestFile = 64 << 20;

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  using Event = nlohmann::json::parse_event_t;
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto check = [&](int depth, Event event, const nlohmann::json& value) {
    if (depth > kDeepest) throw UserError("{}: JSON nested deeper than {} levels", where, kDeepest);
    if (event == Event::object_start) keys.emplace_back();
    if (event == Event::object_end) keys.pop_back();
    if (event == Event::key && !keys.back().insert(value.get_ref<const std::string&>()).second)
      throw UserError("{}: the key {} is there twice in one object", where,
                      in_quotes(value.get<std::string>()));
    return true;
  };
  // The parser takes a NUL for the end.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    throw UserError("{}: not valid JSON (byte {})", where, nul + 1);
  try {
    return nlohmann::json::parse(text.begin(), text.end(), check);
  } catch (const nlohmann::json::parse_error& error) {
    throw UserError("{}: not valid JSON (byte {})", where, error.byte);
  } catch (const nlohmann::json::exception&) {  // a number beyond all doubles
    throw UserError("{}: JSON with a number out of range", where);
  }
}

nlohmann::json read_json(const std::filesystem::path& path) {
  std::error_code ignored;  // read_file says it better
  const uintmax_t size = std::filesystem::file_size(path, ignored);
  if (!ignored && size > kLargestFile) {
    throw UserError("{}: {} bytes are too many for a JSON file (at most {})", path.string(), size,
                    kLargestFile);
  }
  return parse_json(read_file(path), path.string());
}

namespace {

template <class Int>
std::optional<Int> whole(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    return std::in_range<Int>(number) ? std::optional(static_cast<Int>(number)) : std::nullopt;
  }
  if (!value.is_number_integer() || !std::in_range<Int>(value.get<int64_t>())) return std::nullopt;
  return value.get<Int>();
}

template <class T>
std::optional<std::vector<T>> all(const nlohmann::json& values) {
  if (!values.is_array()) return std::nullopt;
  std::vector<T> list;
  for (const nlohmann::json& value : values) {
    std::optional<T> item = exactly<T>(value);
    if (!item) return std::nullopt;
    list.push_back(std::move(*item));
  }
  return list;
}

}  // namespace

template <>
std::optional<bool> exactly(const nlohmann::json& value) {
  return value.is_boolean() ? std::optional(value.get<bool>()) : std::nullopt;
}
template <>
std::optional<int32_t> exactly(const nlohmann::json& value) {
  return whole<int32_t>(value);
}
template <>
std::optional<int64_t> exactly(const nlohmann::json& value) {
  return whole<int64_t>(value);
}
template <>
std::optional<double> exactly(const nlohmann::json& value) {
  return value.is_number() ? std::optional(value.get<double>()) : std::nullopt;
}
template <>
std::optional<std::string> exactly(const nlohmann::json& value) {
  return value.is_string() ? std::optional(value.get<std::string>()) : std::nullopt;
}
template <>
std::optional<std::vector<int32_t>> exactly(const nlohmann::json& value) {
  return all<int32_t>(value);
}
template <>
std::optional<std::vector<int64_t>> exactly(const nlohmann::json& value) {
  return all<int64_t>(value);
}
template <>
std::optional<std::vector<std::string>> exactly(const nlohmann::json& value) {
  return all<std::string>(value);
}

std::string in_quotes(std::string_view text) {
  constexpr size_t kLongest = 80;
  using nlohmann::json;
  const auto dump = [](std::string_view part) {
    return json(part).dump(-1, ' ', true, json::error_handler_t::replace);
  };
  return text.size() <= kLongest ? dump(text) : dump(text.substr(0, kLongest)) + "...";
}

}  // namespace chorus::inline io
