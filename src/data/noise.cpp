#include "data/noise.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace chorus::inline data {
namespace {

// Pieces per word, in the mean of a sentence: with more, the text has no borders between words.
constexpr int64_t kLongWord = 8;

using Unit = std::span<const int32_t>;  // a word, or a mask

std::vector<Unit> words_of(std::span<const int32_t> pieces, const std::vector<bool>& starts_word) {
  std::vector<size_t> begins;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i == 0 || starts_word[i]) begins.push_back(i);
  }
  const bool no_borders = pieces.size() > begins.size() * kLongWord;
  std::vector<Unit> words;
  words.reserve(pieces.size());
  if (no_borders) {
    for (size_t i = 0; i < pieces.size(); ++i) words.push_back(pieces.subspan(i, 1));
    return words;
  }
  begins.push_back(pieces.size());
  for (size_t i = 0; i + 1 < begins.size(); ++i)
    words.push_back(pieces.subspan(begins[i], begins[i + 1] - begins[i]));
  return words;
}

/// Draws from a Poisson distribution: a product of uniform numbers falls below exp(-mean) (Knuth).
class Poisson {
 public:
  Poisson(double mean, RandomKey key) : limit_(std::exp(-mean)), key_(key) {}
  int64_t next() {
    int64_t n = 0;
    for (double product = key_.uniform(index_++); product > limit_; product *= key_.uniform(index_++)) ++n;
    return n;
  }

 private:
  double limit_;
  RandomKey key_;
  uint64_t index_ = 0;
};

/// Lengths of spans that cover `masked` words; of zeros no more than leave as many masks as masked words.
std::vector<int64_t> span_lengths(int64_t masked, double mean, RandomKey key) {
  Poisson poisson(mean, key);
  std::vector<int64_t> lengths;
  for (int64_t covered = 0; covered < masked; covered += lengths.back())
    lengths.push_back(std::min(poisson.next(), masked - covered));
  while (std::cmp_greater(lengths.size(), masked))
    lengths.erase(std::find(lengths.begin(), lengths.end(), 0));
  return lengths;
}

/// The words with masks in the place of spans, which lie among the words in any order with equal probability.
std::vector<Unit> mask_spans(const std::vector<Unit>& words, const Noise& noise, Unit mask, RandomKey key) {
  // Rounded up or down such that the mean is right for sentences of any length.
  const auto masked = static_cast<size_t>(static_cast<double>(words.size()) * noise.mask + key.uniform(0));
  const std::vector<int64_t> spans =
      span_lengths(static_cast<int64_t>(masked), noise.span, key.derive("lengths"));
  std::vector<Unit> units;
  units.reserve(words.size());
  const RandomKey places = key.derive("places"), order = key.derive("order");
  size_t word = 0, span = 0;
  for (size_t slots = words.size() - masked + spans.size(); slots > 0; --slots) {
    if (places.below(slots, slots) < spans.size() - span) {
      units.push_back(mask);
      word += static_cast<size_t>(spans[permute(order, span++, spans.size())]);
    } else {
      units.push_back(words[word++]);
    }
  }
  return units;
}

void drop_words(std::vector<Unit>& units, double probability, Unit mask, RandomKey key) {
  uint64_t i = 0;
  std::erase_if(
      units, [&](const Unit& unit) { return key.uniform(i++) < probability && unit.data() != mask.data(); });
}

/// Sorted by place + a number below distance + 1, so that none moves farther.
void shuffle(std::vector<Unit>& units, int64_t distance, RandomKey key) {
  std::vector<std::pair<double, Unit>> places;
  places.reserve(units.size());
  for (size_t i = 0; i < units.size(); ++i) {
    places.emplace_back(static_cast<double>(i) + static_cast<double>(distance + 1) * key.uniform(i),
                        units[i]);
  }
  std::stable_sort(places.begin(), places.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::transform(places.begin(), places.end(), units.begin(), [](const auto& place) { return place.second; });
}

}  // namespace

std::vector<int32_t> add_noise(std::span<const int32_t> pieces, const std::vector<bool>& starts_word,
                               const Noise& noise, int32_t mask_id, RandomKey key) {
  const Unit mask(&mask_id, 1);
  std::vector<Unit> units = mask_spans(words_of(pieces, starts_word), noise, mask, key.derive("mask"));
  if (noise.drop > 0) drop_words(units, noise.drop, mask, key.derive("drop"));
  if (noise.shuffle > 0) shuffle(units, noise.shuffle, key.derive("shuffle"));
  std::vector<int32_t> result;
  result.reserve(pieces.size());
  for (const Unit& unit : units) result.insert(result.end(), unit.begin(), unit.end());
  return result;
}

}  // namespace chorus::inline data
