#include "data/sources.h"

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "io/places.h"

namespace chorus::inline data {
namespace fs = std::filesystem;
namespace {

/// What the slots of a pattern stand for in the name of one file.
struct Match {
  std::string language, pair;
  friend bool operator<(const Match& a, const Match& b) {
    return std::tie(a.language, a.pair) < std::tie(b.language, b.pair);
  }
};

struct Slot {
  std::string_view text;
  std::string Match::*value;
};
constexpr Slot kSlots[] = {{kLanguageSlot, &Match::language}, {kPairSlot, &Match::pair}};

/// A part of a pattern (between two slashes) with the slots replaced that are bound.
std::string with_bound(std::string part, const Match& bound) {
  for (const Slot& slot : kSlots) {
    const std::string& value = bound.*slot.value;
    for (size_t at = 0; !value.empty() && (at = part.find(slot.text, at)) != part.npos; at += value.size())
      part.replace(at, slot.text.size(), value);
  }
  return part;
}

/// Whether `name` is as `part` says; slots take the longest value with which the rest fits, each the same
/// everywhere.
bool fits(std::string_view part, std::string_view name, Match& match) {
  if (part.empty()) return name.empty();
  for (const Slot& slot : kSlots) {
    if (!part.starts_with(slot.text)) continue;
    const std::string_view rest = part.substr(slot.text.size());
    std::string& value = match.*slot.value;
    if (!value.empty()) return name.starts_with(value) && fits(rest, name.substr(value.size()), match);
    const auto allowed = [](unsigned char c) {
      return c < 128 && (std::isalnum(c) != 0 || c == '_' || c == '@' || c == '-');
    };
    auto length = static_cast<size_t>(std::ranges::find_if_not(name, allowed) - name.begin());
    if (length > 0 && std::isalnum(static_cast<unsigned char>(name.front())) == 0) length = 0;
    for (; length > 0; --length) {
      value = name.substr(0, length);
      if (fits(rest, name.substr(length), match)) return true;
    }
    value.clear();
    return false;
  }
  return !name.empty() && name.front() == part.front() && fits(part.substr(1), name.substr(1), match);
}

void find_files(const fs::path& path, std::span<const std::string> parts, const Match& bound,
                std::set<Match>& found) {
  if (parts.empty()) {
    if (is_there(path) && !fs::is_directory(path)) found.insert(bound);
    return;
  }
  const std::string part = with_bound(parts.front(), bound);
  if (std::ranges::none_of(kSlots, [&](const Slot& slot) { return part.find(slot.text) != part.npos; }))
    return find_files(path / part, parts.subspan(1), bound, found);
  for (const std::string& name : names_in(path.empty() ? "." : path)) {
    Match match = bound;
    if (fits(part, name, match) && (is_language_name(match.language) || match.language.empty()))
      find_files(path / name, parts.subspan(1), match, found);
  }
}

std::set<Match> files_of(const std::string& pattern) {
  std::vector<std::string> parts;
  for (const fs::path& part : fs::path(pattern)) parts.push_back(part.string());
  std::set<Match> found;
  find_files("", parts, {}, found);
  return found;
}

bool holds(std::span<const std::string> names, const std::string& name) {
  return std::ranges::find(names, name) != names.end();
}

/// Returns the other language of a pair's name, when `language` is one of its two.
std::optional<std::string> other_language(const std::string& pair, const std::string& language) {
  if (pair.size() < language.size() + 2) return std::nullopt;
  const auto separates = [](char c) { return c == '-' || c == '_'; };
  std::string other;
  if (pair.starts_with(language) && separates(pair[language.size()]))
    other = pair.substr(language.size() + 1);
  if (pair.ends_with(language) && separates(pair[pair.size() - language.size() - 1]))
    other = pair.substr(0, pair.size() - language.size() - 1);
  return other != language && is_language_name(other) ? std::optional(other) : std::nullopt;
}

/// Their names as languages, in the order in which the pair's name has them.
std::map<std::string, std::vector<std::string>> pairs_of(const SourceConfig& source, const std::string& where,
                                                         const FindOptions& options) {
  const std::set<Match> found = files_of(source.files);
  const auto counts = [&](const std::string& language) {
    return source.languages.empty() ? options.among.empty() || holds(options.among, language)
                                    : holds(source.languages, language);
  };
  std::map<std::string, std::vector<std::string>> pairs;
  for (const auto& [language, pair] : found) {
    const std::optional<std::string> other = other_language(pair, language);
    if (!other || !counts(language) || !counts(*other)) continue;
    if (!found.contains({*other, pair})) {
      throw UserError("{}: '{}': of {} there is the file of {}, and none of {}", where, source.files, pair,
                      language, *other);
    }
    pairs[pair] = pair.starts_with(language) ? std::vector{language, *other} : std::vector{*other, language};
  }
  if (pairs.empty())
    throw UserError("{}: no two files match '{}', such as en and de of the pair en-de", where, source.files);
  return pairs;
}

std::vector<SourceConfig> bilingual_sources(const SourceConfig& source, const std::string& where,
                                            const FindOptions& options) {
  const auto pairs = pairs_of(source, where, options);
  SourceConfig all = source;
  all.languages.clear();
  for (const auto& [pair, languages] : pairs)
    for (const std::string& language : languages)
      if (!holds(all.languages, language)) all.languages.push_back(language);
  for (const std::string& language : source.languages)
    if (!holds(all.languages, language))
      throw UserError("{}: no pair of '{}' has the language '{}'", where, source.files, language);
  using Direction = std::pair<std::string, std::string>;
  std::set<Direction> wanted, there;
  for (const auto& [pair, languages] : pairs)
    there.insert({{languages[0], languages[1]}, {languages[1], languages[0]}});
  const std::vector<std::string> everything = {"*-*"};
  for (const std::string& pattern : source.directions.empty() ? everything : source.directions) {
    all.directions = {pattern};
    bool any = false;
    for (const auto& [from, to] : expand_directions(all, where)) {
      if (!there.contains({all.languages[from], all.languages[to]})) continue;
      any = true;
      wanted.insert({all.languages[from], all.languages[to]});
    }
    if (!any) throw UserError("{}: no pair of '{}' has the direction '{}'", where, source.files, pattern);
  }
  std::vector<SourceConfig> result;
  for (const auto& [pair, languages] : pairs) {
    SourceConfig one = source;
    one.languages = languages;
    one.directions.clear();
    for (const auto& [from, to] : {Direction(languages[0], languages[1]), {languages[1], languages[0]}})
      if (wanted.contains({from, to})) one.directions.push_back(fmt::format("{}-{}", from, to));
    if (one.directions.empty()) continue;
    for (size_t i = one.files.find(kPairSlot); i != std::string::npos; i = one.files.find(kPairSlot, i))
      one.files.replace(i, kPairSlot.size(), pair);
    result.push_back(std::move(one));
  }
  return result;
}

}  // namespace

std::vector<SourceConfig> find_sources(const SourceConfig& source, const std::string& where,
                                       const FindOptions& options) {
  SourceConfig found = source;
  if (!source.tsv.empty() && source.languages.empty()) {
    found.languages.assign(options.among.begin(), options.among.end());
    if (!found.languages.empty())
      log_warning("{}: its columns are taken for {}: name them where that is wrong", where,
                  join(found.languages, ", "));
  }
  check_source(found, where, options.least);
  if (source.files.find(kPairSlot) != std::string::npos) return bilingual_sources(source, where, options);
  if (found.languages.empty()) {
    for (const auto& [language, pair] : files_of(source.files))
      if (options.among.empty() || holds(options.among, language)) found.languages.push_back(language);
    if (found.languages.size() < options.least) {
      throw UserError("{}: '{}' must match the files of {} or more, and matches {}{}", where, source.files,
                      counted(options.least, "language"),
                      found.languages.empty() ? "none" : join(found.languages, ", "),
                      options.among.empty() ? "" : fmt::format(" of {}", join(options.among, ", ")));
    }
  }
  return {std::move(found)};
}

std::vector<SourceConfig> find_sources(std::span<const SourceConfig> sources, std::string_view list,
                                       const FindOptions& options) {
  std::vector<SourceConfig> result;
  for (size_t i = 0; i < sources.size(); ++i)
    for (SourceConfig& found : find_sources(sources[i], source_label(sources[i], list, i), options))
      result.push_back(std::move(found));
  return result;
}

std::vector<std::string> find_languages(const DenoiseConfig& task, const std::string& where) {
  if (!task.languages.empty()) return task.languages;
  return find_sources({.files = task.files}, where, {.least = 1}).front().languages;
}

}  // namespace chorus::inline data
