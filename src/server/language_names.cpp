#include <algorithm>

#include <unicode/locid.h>
#include <unicode/unistr.h>

#include "server/served_models.h"

namespace chorus::inline server {

namespace {

icu::Locale locale_of(const std::string& code) {
  return icu::Locale::createCanonical(code.c_str());
}

/// "de" and "Latn" of "deu_Latn" and of "de".
std::pair<std::string, std::string> language_and_script(const std::string& code) {
  icu::Locale locale = locale_of(code);
  if (std::string_view(locale.getLanguage()).empty()) return {};  // the likeliest of none is English
  UErrorCode status = U_ZERO_ERROR;
  locale.addLikelySubtags(status);
  return {locale.getLanguage(), locale.getScript()};
}

}  // namespace

std::string language_name(const std::string& code) {
  icu::Locale locale = locale_of(code);
  if (std::string_view(locale.getLanguage()).empty()) return code;
  // The script is said where it is not the usual one.
  const icu::Locale bare(locale.getLanguage());
  if (std::string_view(locale.getCountry()).empty() &&
      language_and_script(code) == language_and_script(locale.getLanguage()))
    locale = bare;
  icu::UnicodeString name;
  locale.getDisplayName(icu::Locale::getEnglish(), name);
  std::string text;
  name.toUTF8String(text);
  return text.empty() ? code : text;
}

void LanguageCodes::add(const std::string& code) {
  const auto [language, script] = language_and_script(code);
  known_.push_back({code, language, script});
}

std::optional<std::string> LanguageCodes::find(std::string_view asked) const {
  if (const auto same = std::ranges::find(known_, asked, &Known::code); same != known_.end())
    return same->code;
  constexpr size_t kLongest = 64;  // of a code that ICU is asked about
  // ICU also reads "de@collation=phonebook".
  const auto in_code = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  if (asked.size() > kLongest || !std::ranges::all_of(asked, in_code)) return {};
  const std::string code(asked);
  const auto [language, script] = language_and_script(code);
  if (language.empty()) return {};
  // What names a script, or a region where another is usual, means no other script.
  const bool any_script =
      std::string_view(locale_of(code).getScript()).empty() && script == language_and_script(language).second;
  const Known* of_language = nullptr;
  int64_t count = 0;
  for (const Known& one : known_) {
    if (one.language != language) continue;
    if (one.script == script) return one.code;
    ++count;
    of_language = &one;
  }
  return any_script && count == 1 ? std::optional(of_language->code) : std::nullopt;
}

}  // namespace chorus::inline server
