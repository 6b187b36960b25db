// Names of languages: what someone who writes "DE", "de-DE" or "deu" means.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline data {

/// What ISO calls a language, with the script and region that it most likely has where the name has none:
/// "zh_TW" is {"zh", "Hant", "TW"}. Macrolanguages stand for their usual language ("zsm" is "ms"). The language
/// is empty where ISO has none of that code.
struct LanguageCode {
  std::string language, script, region;
};
LanguageCode language_code(std::string_view name);

/// Returns those of `known` that `name` most likely stands for: the same but for case, "-" for "_" and underscores
/// around it; else the same language by ISO 639-1, 639-2 or 639-3 code, of them those in its script and region (which
/// are guessed where it has none); else, unless ISO has a language of that name, the nearest by spelling. Empty when
/// there is none.
std::vector<std::string> languages_like(std::string_view name, std::span<const std::string> known);

/// "; did you mean 'deu_Latn'?", or "".
std::string did_you_mean_language(std::string_view name, std::span<const std::string> known);

}  // namespace chorus::inline data
