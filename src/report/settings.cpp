#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "report/report.h"

namespace chorus::inline report {

namespace {

/// "data.train[0].weight" without the numbers of items, "data.train.weight".
std::string without_numbers(const std::string& name) {
  std::string plain;
  bool inside = false;
  for (const char c : name) {
    inside = c == '[' || (inside && c != ']');
    if (!inside && c != ']') plain += c;
  }
  return plain;
}

}  // namespace

std::vector<Setting> settings_of(const Schema& schema) {
  std::map<std::string, std::string> initial;
  for (const Schema::Section& section : schema.flat_sections()) {
    std::string prefix = section.name;  // "[data.train]" of the items of a list
    std::erase_if(prefix, [](char c) { return c == '[' || c == ']'; });
    for (const Schema::Option& option : section.options)
      initial[prefix.empty() ? option.key : fmt::format("{}.{}", prefix, option.key)] = option.initial;
  }
  std::vector<Setting> settings;
  for (auto& [name, value] : schema.values())
    settings.push_back({.name = name, .value = value, .initial = initial[without_numbers(name)]});
  return settings;
}

}  // namespace chorus::inline report
