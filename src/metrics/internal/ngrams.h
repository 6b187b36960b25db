// Counting the n-grams that a hypothesis shares with its references, exactly and in linear time.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace chorus::inline metrics {

/// Numbers for words: equal words, and only they, have equal numbers.
class WordIds {
 public:
  uint32_t operator()(std::string_view word);
  std::vector<uint32_t> operator()(std::span<const std::string> words);

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
  };
  std::unordered_map<std::string, uint32_t, Hash, std::equal_to<>> ids_;
};

/// How many n-grams of `order` a sequence of `length` symbols has.
inline int64_t ngrams_of(size_t length, int order) {
  const int64_t count = static_cast<int64_t>(length) - order + 1;
  return count > 0 ? count : 0;
}

/// Numbers for the n-grams of several sequences, order by order. An n-gram is the pair of its first n-1
/// symbols, which already have a number from the order below, and its last one: so every order is one pass of
/// a hash table over 64-bit keys, and no two n-grams are ever taken for the same.
class NgramNumbers {
 public:
  /// `sequences` must stay as they are until the last next().
  void start(std::span<const std::vector<uint32_t>> sequences);
  /// Numbers the n-grams of the next order, from order 1 on, and returns how many different ones there are:
  /// equal n-grams have equal numbers, from 0 on.
  size_t next();
  /// Returns the numbers of the n-grams of the sequence, by position.
  [[nodiscard]] std::span<const uint32_t> of(size_t sequence) const {
    return {numbers_[sequence].data(), static_cast<size_t>(ngrams_of(sequences_[sequence].size(), order_))};
  }

 private:
  uint32_t number_of(uint64_t key);

  std::span<const std::vector<uint32_t>> sequences_;
  int order_ = 0;
  size_t symbols_ = 0;  // of all sequences
  uint32_t different_ = 0;
  std::vector<std::vector<uint32_t>> numbers_;
  std::vector<std::pair<uint64_t, uint32_t>> table_;  // open addressing: key, number + 1; 0 marks a free slot
};

class NgramOverlap {
 public:
  /// Counts the n-grams of orders 1 to max_order; sequences[0] is the hypothesis, the others are references.
  void count(std::span<const std::vector<uint32_t>> sequences, int max_order);

  /// How many n-grams of the hypothesis the reference (from 1) has too; each counts as often as in the one
  /// that has it fewer times.
  [[nodiscard]] int64_t matches(int order, size_t reference) const {
    return matches_[row(order) + reference];
  }
  /// Returns the matches with the reference that has each n-gram most often.
  [[nodiscard]] int64_t matches_any(int order) const { return matches_[row(order)]; }

 private:
  [[nodiscard]] size_t row(int order) const { return static_cast<size_t>(order - 1) * width_; }

  size_t width_ = 0;              // of a row of matches_ and of counts_: sequences
  std::vector<int64_t> matches_;  // [max_order, sequences], the first column against any
  std::vector<uint32_t> counts_;  // [n-grams of this order, sequences]
  NgramNumbers numbers_;
};

/// The same of every two of many sequences. The time it takes grows with the pairs of sequences that have an
/// n-gram in common, over the n-grams.
class NgramPairs {
 public:
  NgramPairs(std::span<const std::vector<uint32_t>> sequences, int max_order);

  /// How many n-grams sequences a < b share, as NgramOverlap::matches.
  [[nodiscard]] int64_t matches(int order, size_t a, size_t b) const {
    return matches_[(static_cast<size_t>(order - 1) * width_ + a) * width_ + b];
  }

 private:
  size_t width_;                   // sequences
  std::vector<uint32_t> matches_;  // [max_order, sequences, sequences], above the diagonal
};

/// Returns for each of n things the mean of score(it, other) over all others; of a single one 0.
template <class Score>
std::vector<double> mean_over_others(size_t n, const Score& score) {
  std::vector<double> means(n, 0);
  for (size_t i = 0; i < n && n > 1; ++i) {
    for (size_t j = 0; j < n; ++j)
      if (j != i) means[i] += score(i, j);
    means[i] /= static_cast<double>(n - 1);
  }
  return means;
}

}  // namespace chorus::inline metrics
