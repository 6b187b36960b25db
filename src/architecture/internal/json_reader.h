// Reading config.json, which is not trusted. UserError names the key.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "io/json.h"

namespace chorus::inline architecture {

inline constexpr int64_t kLarge = 1 << 20;

template <class Enum>
std::string name_of(const std::vector<std::pair<std::string, Enum>>& names, Enum value) {
  for (const auto& [name, candidate] : names) {
    if (candidate == value) return name;
  }
  throw Error("unnamed choice {}", static_cast<int>(value));
}

template <class Enum>
Enum value_of(const std::vector<std::pair<std::string, Enum>>& names, const std::string& key,
              const std::string& text) {
  for (const auto& [name, value] : names) {
    if (name == text) return value;
  }
  throw UserError("config.json: {} is {}, which this version does not know", key, in_quotes(text));
}

/// Typed reads from an object.
struct JsonReader {
  const nlohmann::json& json;

  template <class T>
  [[nodiscard]] T get(const char* key, const T& fallback) const {
    const auto it = json.find(key);
    if (it == json.end() || it->is_null()) return fallback;
    const std::optional<T> value = exactly<T>(*it);
    if (!value) throw UserError("config.json: {} has the wrong type: {}", key, in_quotes(it->dump()));
    return *value;
  }
  [[nodiscard]] bool has(const char* key) const {
    const auto it = json.find(key);
    return it != json.end() && !it->is_null();
  }
  [[nodiscard]] int64_t count(const char* key, int64_t low, int64_t high) const {
    const auto it = json.find(key);
    const std::optional<int64_t> value = it != json.end() ? exactly<int64_t>(*it) : std::nullopt;
    if (!value) throw UserError("config.json: {} is missing or not a whole number", key);
    if (*value < low || *value > high)
      throw UserError("config.json: {} = {} is outside {} to {}", key, *value, low, high);
    return *value;
  }
  /// A coefficient of a loss, or another factor.
  [[nodiscard]] double factor(const char* key, double fallback) const {
    constexpr double kMost = 1e6;
    const auto value = get(key, fallback);
    if (!(value >= 0 && value <= kMost))
      throw UserError("config.json: {} = {} is outside 0 to {}", key, value, kMost);
    return value;
  }
  [[nodiscard]] double fraction(const char* key, double fallback) const {
    const auto value = get(key, fallback);
    if (!(value >= 0 && value < 1)) throw UserError("config.json: {} = {} is outside 0 to 1", key, value);
    return value;
  }
};

/// What a class computes that this version does not.
inline UserError not_computed(const std::string& what) {
  return UserError("config.json: {}, which this version does not compute", what);
}

}  // namespace chorus::inline architecture
