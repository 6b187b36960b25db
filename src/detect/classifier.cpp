#include "detect/classifier.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <functional>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "data/config.h"
#include "io/places.h"
#include "io/safetensors.h"

#include "detect/internal/letters.h"

namespace chorus::inline detect {

namespace fs = std::filesystem;

namespace {

constexpr const char* kLanguages = "chorus.languages";
constexpr const char* kWeights = "weights";
constexpr const char* kScales = "scales";

/// Names that are distinct and such as languages have.
std::vector<std::string> read_names(const SafetensorsFile& file) {
  const auto text = file.metadata().find(kLanguages);
  if (text == file.metadata().end())
    throw UserError("{} is no language classifier: `chorus lid train` makes one", file.path().string());
  std::vector<std::string> names;
  for (const std::string_view name : split(text->second, '\n')) names.emplace_back(name);
  std::vector<std::string> sorted = names;
  std::ranges::sort(sorted);
  if (!std::ranges::all_of(names, is_language_name) || std::ranges::adjacent_find(sorted) != sorted.end())
    throw UserError("{}: its languages are no names, or one is there twice", file.path().string());
  return names;
}

}  // namespace

LanguageClassifier::LanguageClassifier(const fs::path& path) {
  const SafetensorsFile file(path);
  const auto wrong = [&](const char* what) {
    return UserError("{} is no language classifier: {}; `chorus lid train` makes one", path.string(), what);
  };
  languages_ = read_names(file);
  if (!file.verify()) throw wrong("it has no checksums");
  const size_t count = languages_.size();
  const TensorView weights = file.get(kWeights), scales = file.get(kScales);
  const size_t buckets = weights.bytes.size() / count;
  const std::vector<int64_t> shape = {static_cast<int64_t>(buckets), static_cast<int64_t>(count)};
  if (weights.dtype != DType::i8 || weights.shape != shape || !std::has_single_bit(buckets) ||
      weights.bytes.size() > kMostBytes)
    throw wrong("its weights are not int8 [buckets, languages]");
  if (scales.dtype != DType::f32 || scales.shape != std::vector<int64_t>{static_cast<int64_t>(count)})
    throw wrong("its scales are not fp32 [languages]");
  weights_.resize(weights.bytes.size());
  std::memcpy(weights_.data(), weights.bytes.data(), weights.bytes.size());
  scales_.resize(count);
  std::memcpy(scales_.data(), scales.bytes.data(), scales.bytes.size());
  if (!std::ranges::all_of(scales_, [](float scale) { return scale >= 0 && scale <= 1e6F; }))
    throw wrong("a scale is out of range");
  wanted_.assign(count, true);
}

LanguageClassifier::LanguageClassifier(std::vector<std::string> languages, std::span<const float> weights)
    : languages_(std::move(languages)), weights_(weights.size()), wanted_(languages_.size(), true) {
  constexpr float kMost = 127;
  const size_t count = languages_.size();
  if (count == 0 || weights.size() % count != 0 || !std::has_single_bit(weights.size() / count) ||
      weights.size() > kMostBytes)
    throw Error("{} weights for {} languages", weights.size(), count);
  scales_.assign(count, 0);
  for (size_t i = 0; i < weights.size(); ++i)
    scales_[i % count] = std::max(scales_[i % count], std::abs(weights[i]) / kMost);
  for (size_t i = 0; i < weights.size(); ++i)
    if (scales_[i % count] > 0)
      weights_[i] = static_cast<int8_t>(std::lround(weights[i] / scales_[i % count]));
}

void LanguageClassifier::save(const fs::path& path) const {
  const auto count = static_cast<int64_t>(languages_.size());
  const std::vector<TensorSpec> tensors = {{kWeights, DType::i8, {std::ssize(weights_) / count, count}},
                                           {kScales, DType::f32, {count}}};
  SafetensorsWriter writer(path, tensors, {{kLanguages, join(languages_, "\n")}});
  writer.write(kWeights, std::as_bytes(std::span(weights_)));
  writer.write(kScales, std::as_bytes(std::span(scales_)));
  writer.commit();
}

void LanguageClassifier::restrict_to(std::span<const std::string> languages) {
  for (size_t i = 0; i < languages_.size(); ++i)
    wanted_[i] = std::ranges::find(languages, languages_[i]) != languages.end();
}

std::vector<DetectedLanguage> LanguageClassifier::detect(std::string_view text) const {
  constexpr double kLeast = 1;  // in %
  const size_t count = languages_.size();
  const std::vector<BucketCount> counts = count_ngrams(plain_text(text), weights_.size() / count);
  if (counts.empty()) return {};
  std::vector<int64_t> sums(count);
  for (const BucketCount& one : counts)
    for (size_t i = 0; i < count; ++i) sums[i] += int64_t{one.count} * weights_[one.bucket * count + i];
  std::vector<DetectedLanguage> found;
  double most = -HUGE_VAL, all = 0;
  for (size_t i = 0; i < count; ++i) {
    if (!wanted_[i]) continue;
    found.push_back({languages_[i], static_cast<double>(sums[i]) * scales_[i] * count_scale(counts)});
    most = std::max(most, found.back().confidence);
  }
  for (DetectedLanguage& one : found) all += one.confidence = std::exp(one.confidence - most);
  for (DetectedLanguage& one : found) one.confidence *= 100 / all;
  std::erase_if(found, [&](const DetectedLanguage& one) { return one.confidence < kLeast; });
  std::ranges::stable_sort(found, std::greater(), &DetectedLanguage::confidence);
  return found;
}

std::unique_ptr<const LanguageDetector> open_detector(const fs::path& model_folder,
                                                      std::span<const std::string> languages) {
  if (!is_there(model_folder / kClassifierFile)) return cld2_detector(languages);
  auto classifier = std::make_unique<LanguageClassifier>(model_folder / kClassifierFile);
  classifier->restrict_to(languages);
  return classifier;
}

}  // namespace chorus::inline detect
