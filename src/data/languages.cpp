#include "data/languages.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unicode/locid.h>

#include "base/text.h"

namespace chorus::inline data {
namespace {

/// Returns the name in lower case, with "_" alone between its parts.
std::string plain(std::string_view name) {
  std::string text(name);
  for (char& c : text) c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const size_t first = text.find_first_not_of('_');
  return first == text.npos ? "" : text.substr(first, text.find_last_not_of('_') - first + 1);
}

}  // namespace

LanguageCode language_code(std::string_view name) {
  icu::Locale locale = icu::Locale::createCanonical(plain(name).c_str());
  // Norwegian is Bokmål to nearly everyone who does not say which.
  if (std::string_view(locale.getLanguage()) == "no") locale = icu::Locale("nb");
  if (plain(name).empty() || *locale.getISO3Language() == '\0') return {};
  UErrorCode ignored = U_ZERO_ERROR;
  locale.addLikelySubtags(ignored);
  return {locale.getLanguage(), locale.getScript(), locale.getCountry()};
}

std::vector<std::string> languages_like(std::string_view name, std::span<const std::string> known) {
  constexpr size_t kLongest = 64;  // of a name
  if (name.size() > kLongest) return {};
  std::vector<std::string> like;
  std::ranges::copy_if(known, std::back_inserter(like),
                       [&](const std::string& other) { return plain(other) == plain(name); });
  if (!like.empty()) return like;
  const LanguageCode meant = language_code(name);
  if (meant.language.empty()) {
    if (std::string near = nearest(name, known); !near.empty()) like.push_back(std::move(near));
    return like;
  }
  int most = 0;
  for (const std::string& other : known) {
    const LanguageCode code = language_code(other);
    if (code.language != meant.language) continue;
    const int likeness = 1 + (code.script == meant.script ? 2 : 0) + (code.region == meant.region ? 1 : 0);
    if (likeness > most) like.clear();
    if (likeness >= most) like.push_back(other);
    most = std::max(most, likeness);
  }
  return like;
}

std::string did_you_mean_language(std::string_view name, std::span<const std::string> known) {
  constexpr size_t kMost = 3;
  std::vector<std::string> like = languages_like(name, known);
  if (like.empty()) return "";
  if (like.size() > kMost) like.resize(kMost);
  for (std::string& one : like) one = fmt::format("'{}'", one);
  return fmt::format("; did you mean {}?", join(like, " or "));
}

}  // namespace chorus::inline data
