#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "base/utf8.h"
#include "detect/classifier.h"

#include "detect/internal/letters.h"

namespace chorus::inline detect {

namespace {

/// All of a sentence, a few words of it, or one.
std::string excerpt(const std::string& sentence, const RandomKey& key) {
  constexpr uint64_t kFewWords = 5;
  const uint64_t kind = key.below(0, 3);
  if (kind == 0) return sentence;
  std::vector<std::string_view> words;
  for (const std::string_view word : split(sentence, ' '))
    if (!word.empty()) words.push_back(word);
  if (words.empty()) return sentence;
  const size_t begin = key.below(1, words.size());
  const size_t end =
      std::min<size_t>(words.size(), begin + (kind == 1 ? 1 : 2 + key.below(2, kFewWords - 1)));
  return {words[begin].data(), words[end - 1].data() + words[end - 1].size()};
}

/// AdaGrad (Duchi et al., 2011), which suits weights that are seldom met.
class ClassifierTraining {
 public:
  ClassifierTraining(size_t buckets, size_t languages)
      : buckets_(buckets),
        languages_(languages),
        weights_(buckets * languages),
        squares_(buckets * languages) {}

  void learn(std::string_view text, size_t language) {
    constexpr float kRate = 0.5F, kFirst = 1e-6F;
    const std::vector<BucketCount> counts = count_ngrams(plain_text(text), buckets_);
    const auto scale = static_cast<float>(count_scale(counts));
    std::vector<float> p(languages_);
    for (const BucketCount& one : counts)
      for (size_t i = 0; i < languages_; ++i)
        p[i] += static_cast<float>(one.count) * scale * weights_[one.bucket * languages_ + i];
    const float most = *std::ranges::max_element(p);
    float all = 0;
    for (float& x : p) all += x = std::exp(x - most);
    for (float& x : p) x /= all;
    p[language] -= 1;
    for (const BucketCount& one : counts) {
      for (size_t i = 0; i < languages_; ++i) {
        const float gradient = static_cast<float>(one.count) * scale * p[i];
        float& square = squares_[one.bucket * languages_ + i];
        square += gradient * gradient;
        weights_[one.bucket * languages_ + i] -= kRate * gradient / std::sqrt(square + kFirst);
      }
    }
  }

  [[nodiscard]] const std::vector<float>& weights() const { return weights_; }

 private:
  size_t buckets_, languages_;
  std::vector<float> weights_, squares_;  // [buckets, languages]
};

}  // namespace

LanguageClassifier train_classifier(const std::vector<std::string>& languages,
                                    const std::vector<std::vector<std::string>>& sentences,
                                    const std::function<void(double share)>& progress) {
  constexpr size_t kMostBuckets = size_t{1} << 18, kFewestBuckets = size_t{1} << 12;
  constexpr size_t kRounds = 4;  // over the language with the most sentences
  if (languages.size() < 2) throw UserError("a language classifier needs text of two languages or more");
  const size_t buckets =
      std::min(kMostBuckets, std::bit_floor(LanguageClassifier::kMostBytes / languages.size()));
  if (buckets < kFewestBuckets)
    throw UserError("{} languages are too many for a classifier of {}", languages.size(),
                    human_bytes(LanguageClassifier::kMostBytes));
  size_t most = 0;
  for (size_t i = 0; i < languages.size(); ++i) {
    const bool any = std::ranges::any_of(sentences[i], [&](const std::string& text) {
      return !count_ngrams(plain_text(text), buckets).empty();
    });
    if (!any) throw UserError("there is no usable text in '{}'", languages[i]);
    most = std::max(most, sentences[i].size());
  }
  ClassifierTraining training(buckets, languages.size());
  const RandomKey key = RandomKey(1).derive("language classifier");
  for (size_t draw = 0; draw < kRounds * most; ++draw) {
    for (size_t i = 0; i < languages.size(); ++i) {
      const RandomKey own = key.derive(draw * languages.size() + i);
      training.learn(excerpt(sentences[i][own.below(3, sentences[i].size())], own), i);
    }
    if (progress && draw % 256 == 0)
      progress(static_cast<double>(draw) / static_cast<double>(kRounds * most));
  }
  return {languages, training.weights()};
}

}  // namespace chorus::inline detect
