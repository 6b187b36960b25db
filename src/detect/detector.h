// Which language a text is in, of those that a model has.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline detect {

struct DetectedLanguage {
  std::string language;   // as the model calls it: "en", "deu_Latn"
  double confidence = 0;  // 0 to 100
};

/// Threads may share one.
class LanguageDetector {
 public:
  virtual ~LanguageDetector() = default;
  /// Best first, each once, none with a confidence of 0. Any bytes will do: what is not UTF-8 is looked over, and
  /// of long text the first 64 KiB are looked at. Empty where nothing tells: numbers, symbols, no text at all, a
  /// language that is none of these.
  [[nodiscard]] virtual std::vector<DetectedLanguage> detect(std::string_view text) const = 0;
};

/// CLD2 (Debian's libcld2, the tables of some 160 languages). It calls languages by ISO codes; where several of
/// `languages` are the same one ("zho_Hans", "zho_Hant"), the text's script decides. The confidence is the share
/// of the text that CLD2 thinks is in the language, halved where it says itself that its answer is not reliable,
/// as it is for a few words. Of `languages` that it does not know it detects none.
std::unique_ptr<const LanguageDetector> cld2_detector(std::span<const std::string> languages);

}  // namespace chorus::inline detect
