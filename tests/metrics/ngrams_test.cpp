#include "metrics/internal/ngrams.h"

#include <algorithm>
#include <map>

#include <gtest/gtest.h>

#include "base/random.h"

namespace chorus::metrics {
namespace {

using Sequence = std::vector<uint32_t>;

std::map<Sequence, int64_t> count_ngrams(const Sequence& sequence, int order) {
  std::map<Sequence, int64_t> counts;
  for (int64_t i = 0; i < ngrams_of(sequence.size(), order); ++i)
    ++counts[Sequence(sequence.begin() + i, sequence.begin() + i + order)];
  return counts;
}

// The plain definition, by maps of whole n-grams.
void expect_plain_counts(const NgramOverlap& overlap, const std::vector<Sequence>& sequences, int max_order) {
  for (int order = 1; order <= max_order; ++order) {
    std::map<Sequence, int64_t> most;
    for (size_t s = 1; s < sequences.size(); ++s) {
      int64_t matches = 0;
      auto in_reference = count_ngrams(sequences[s], order);
      for (const auto& [ngram, count] : in_reference) most[ngram] = std::max(most[ngram], count);
      for (const auto& [ngram, count] : count_ngrams(sequences[0], order))
        matches += std::min(count, in_reference[ngram]);
      EXPECT_EQ(overlap.matches(order, s), matches) << order;
    }
    int64_t any = 0;
    for (const auto& [ngram, count] : count_ngrams(sequences[0], order)) any += std::min(count, most[ngram]);
    EXPECT_EQ(overlap.matches_any(order), any) << order;
  }
}

TEST(NgramOverlap, AgreesWithThePlainDefinition) {
  NgramOverlap overlap;  // one for all: nothing may remain of the sequences before
  for (uint64_t trial = 0; trial < 300; ++trial) {
    const RandomKey key = RandomKey(5).derive(trial);
    const uint64_t symbols = 1 + key.below(0, 6);
    std::vector<Sequence> sequences(2 + key.below(1, 3));
    for (size_t s = 0; s < sequences.size(); ++s) {
      const RandomKey draw = key.derive(s);
      sequences[s].resize(draw.below(0, 40));
      for (size_t i = 0; i < sequences[s].size(); ++i)
        sequences[s][i] = 0xffffffff - static_cast<uint32_t>(draw.below(i + 1, symbols));
    }
    overlap.count(sequences, 6);
    expect_plain_counts(overlap, sequences, 6);
  }
}

TEST(NgramPairs, AgreesWithTheOverlapOfEachTwo) {
  for (uint64_t trial = 0; trial < 100; ++trial) {
    const RandomKey key = RandomKey(6).derive(trial);
    const uint64_t symbols = 1 + key.below(0, 6);
    std::vector<Sequence> sequences(key.below(1, 8));
    for (size_t s = 0; s < sequences.size(); ++s) {
      const RandomKey draw = key.derive(s);
      sequences[s].resize(draw.below(0, 30));
      for (size_t i = 0; i < sequences[s].size(); ++i)
        sequences[s][i] = static_cast<uint32_t>(draw.below(i + 1, symbols));
    }
    const NgramPairs pairs(sequences, 6);
    NgramOverlap overlap;
    for (size_t a = 0; a < sequences.size(); ++a) {
      for (size_t b = a + 1; b < sequences.size(); ++b) {
        overlap.count(std::vector{sequences[a], sequences[b]}, 6);
        for (int order = 1; order <= 6; ++order)
          EXPECT_EQ(pairs.matches(order, a, b), overlap.matches(order, 1)) << trial << ": " << a << " " << b;
      }
    }
  }
}

TEST(NgramOverlap, EmptySequencesShareNothing) {
  NgramOverlap overlap;
  overlap.count(std::vector<Sequence>{{}, {}}, 2);
  EXPECT_EQ(overlap.matches_any(1), 0);
  overlap.count(std::vector<Sequence>{{1}, {}}, 2);
  EXPECT_EQ(overlap.matches(1, 1), 0);
}

TEST(WordIds, AreEqualForEqualWordsOnly) {
  WordIds ids;
  const std::vector<std::string> words = {"a", "b", "", "a"};
  const Sequence numbers = ids(words);
  EXPECT_EQ(numbers[0], numbers[3]);
  EXPECT_NE(numbers[0], numbers[1]);
  EXPECT_NE(numbers[1], numbers[2]);
  EXPECT_EQ(ids("b"), numbers[1]);
}

}  // namespace
}  // namespace chorus::metrics
