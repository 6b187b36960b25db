#include <algorithm>
#include <array>
#include <cstdio>  // which compact_lang_det.h needs
#include <functional>
#include <map>
#include <utility>

#include <cld2/public/compact_lang_det.h>
#include <cld2/public/encodings.h>
#include <unicode/uchar.h>
#include <unicode/uscript.h>

#include "base/utf8.h"
#include "data/languages.h"
#include "detect/detector.h"

#include "detect/internal/letters.h"

namespace chorus::inline detect {

namespace {

/// ISO 15924 code of the script that most letters are in, of the first thousand; "" without letters.
std::string main_script(std::string_view text) {
  constexpr int kEnough = 1000;
  std::map<UScriptCode, int> counts;
  int letters = 0;
  for (size_t at = 0; at < text.size() && letters < kEnough;) {
    const auto c = static_cast<UChar32>(next_code_point(text, at));
    if (!u_isalpha(c)) continue;
    UErrorCode ignored = U_ZERO_ERROR;
    ++counts[uscript_getScript(c, &ignored)];
    ++letters;
  }
  if (counts.empty()) return "";
  return uscript_getShortName(
      std::ranges::max_element(counts, {}, [](const auto& count) { return count.second; })->first);
}

class Cld2Detector final : public LanguageDetector {
 public:
  explicit Cld2Detector(std::span<const std::string> languages) {
    std::map<std::string, std::vector<Named>> by_code;
    for (const std::string& name : languages) {
      const LanguageCode code = language_code(name);
      if (!code.language.empty()) by_code[code.language].push_back({name, code});
    }
    known_.resize(CLD2::NUM_LANGUAGES);
    for (size_t i = 0; i < known_.size(); ++i) {
      const std::string code = CLD2::LanguageCode(static_cast<CLD2::Language>(i));
      if (code.starts_with("xx") || code == "un") continue;  // a script, or nothing
      known_[i].code = language_code(code);
      if (const auto found = by_code.find(known_[i].code.language); found != by_code.end())
        known_[i].names = found->second;
    }
  }

  [[nodiscard]] std::vector<DetectedLanguage> detect(std::string_view text) const override {
    // An answer for short text, too (compact_lang_det.h: kCLDFlagBestEffort).
    constexpr int kBestEffort = 0x4000;
    const std::string plain = plain_text(text);
    const std::string script = main_script(plain);
    if (script.empty()) return {};
    constexpr CLD2::CLDHints kNoHints = {nullptr, nullptr, CLD2::UNKNOWN_ENCODING, CLD2::UNKNOWN_LANGUAGE};
    std::array<CLD2::Language, 3> found = {};
    std::array<int, 3> percent = {};
    std::array<double, 3> scores = {};
    int bytes = 0, valid = 0;
    bool reliable = false;
    CLD2::ExtDetectLanguageSummaryCheckUTF8(plain.data(), static_cast<int>(plain.size()), true, &kNoHints,
                                            kBestEffort, found.data(), percent.data(), scores.data(), nullptr,
                                            &bytes, &reliable, &valid);
    std::vector<DetectedLanguage> languages;
    for (size_t i = 0; i < found.size(); ++i) {
      const Known& known = known_[found[i]];
      if (known.names.empty() || percent[i] <= 0) continue;
      const std::string& name = named(known, script);
      const double confidence = percent[i] * (reliable ? 1.0 : 0.5);
      const auto same = std::ranges::find(languages, name, &DetectedLanguage::language);
      if (same == languages.end())
        languages.push_back({name, confidence});
      else
        same->confidence += confidence;
    }
    std::ranges::stable_sort(languages, std::greater(), &DetectedLanguage::confidence);
    return languages;
  }

 private:
  struct Named {
    std::string name;  // the model's
    LanguageCode code;
  };
  struct Known {  // a language of CLD2
    LanguageCode code;
    std::vector<Named> names;
  };

  /// Returns, of several names, that of the text's script, or else of the script that CLD2's code has (Chinese: Hans
  /// or Hant, which no letter's script tells), and of its likely region.
  static const std::string& named(const Known& known, const std::string& script) {
    const bool decides =
        std::ranges::any_of(known.names, [&](const Named& one) { return one.code.script == script; });
    return std::ranges::max_element(known.names, {},
                                    [&](const Named& one) {
                                      return std::pair(
                                          one.code.script == (decides ? script : known.code.script),
                                          one.code.region == known.code.region);
                                    })
        ->name;
  }

  std::vector<Known> known_;  // by CLD2::Language
};

}  // namespace

std::unique_ptr<const LanguageDetector> cld2_detector(std::span<const std::string> languages) {
  return std::make_unique<Cld2Detector>(languages);
}

}  // namespace chorus::inline detect
