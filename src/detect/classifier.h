// A small classifier of the languages of one model, trained on its own text (`chorus lid train`).
//
// Words in lower case, with a mark at either end, give their n-grams of 1 to 5 characters and themselves; each is a
// bucket by its hash. A language's logit is the sum over the buckets of the text of weight x count / sqrt(all counts):
// multinomial logistic regression, of which longer text is surer. Weights are int8 with a scale for each language.
//
// The file is a safetensors file with checksums (io/safetensors.h): "weights" I8 [buckets, languages], buckets a power
// of two; "scales" F32 [languages]; metadata "chorus.languages": the names, a line each. All of it is at most
// kMostBytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "detect/detector.h"

namespace chorus::inline detect {

/// Its name in a model's folder.
inline constexpr const char* kClassifierFile = "languages.lid";

class LanguageClassifier final : public LanguageDetector {
 public:
  static constexpr size_t kMostBytes = size_t{8} << 20;  // of the weights

  /// UserError naming the file when it is missing, damaged, or no such file, whatever is in it.
  explicit LanguageClassifier(const std::filesystem::path& file);
  /// [buckets, languages.size()] weights, whose scales are chosen. Error where the numbers do not fit.
  LanguageClassifier(std::vector<std::string> languages, std::span<const float> weights);

  /// Errors as AtomicFile.
  void save(const std::filesystem::path& file) const;
  /// Restricts detection to these of languages(), from now on.
  void restrict_to(std::span<const std::string> languages);

  [[nodiscard]] std::span<const std::string> languages() const { return languages_; }
  /// Confidences are the probabilities of the languages, of which those below 1 % are left out.
  [[nodiscard]] std::vector<DetectedLanguage> detect(std::string_view text) const override;

 private:
  std::vector<std::string> languages_;
  std::vector<int8_t> weights_;  // [buckets, languages]
  std::vector<float> scales_;    // [languages]
  std::vector<bool> wanted_;     // [languages]
};

/// Sentences of each language, at least two languages and a sentence of each with a letter. Each language is drawn as
/// often as every other, and of its sentences single words, a few words and the whole alike. A function of the text
/// alone. `progress` is told what share is done. UserError on too little text, or more languages than kMostBytes are
/// enough for (2,048).
LanguageClassifier train_classifier(const std::vector<std::string>& languages,
                                    const std::vector<std::vector<std::string>>& sentences,
                                    const std::function<void(double share)>& progress = {});

/// The classifier in a model's folder, if it has one, else CLD2; of these languages. UserError as LanguageClassifier.
std::unique_ptr<const LanguageDetector> open_detector(const std::filesystem::path& model_folder,
                                                      std::span<const std::string> languages);

}  // namespace chorus::inline detect
