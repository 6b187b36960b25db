#include "data/noise.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include <gtest/gtest.h>

namespace chorus {
namespace {

constexpr int32_t kMaskId = 9999;

std::vector<int32_t> ids(int32_t count) {
  std::vector<int32_t> pieces(static_cast<size_t>(count));
  std::iota(pieces.begin(), pieces.end(), 100);
  return pieces;
}

std::vector<int32_t> noisy(const std::vector<int32_t>& pieces, const Noise& noise, uint64_t seed) {
  return add_noise(pieces, std::vector<bool>(pieces.size(), true), noise, kMaskId, RandomKey(seed));
}

/// How often so many words are missing beside so many masks, where something is missing.
using Gaps = std::map<std::pair<int64_t, int64_t>, double>;

void count_gaps(const std::vector<int32_t>& text, int32_t words, Gaps& gaps) {
  int32_t expected = 100;
  int64_t masks = 0;
  const auto close = [&](int32_t next) {
    if (masks > 0) ++gaps[{next - expected, masks}];
    masks = 0;
    expected = next + 1;
  };
  for (const int32_t id : text) id == kMaskId ? static_cast<void>(++masks) : close(id);
  close(100 + words);
}

/// The same noise by the standard library: a list of words and spans, shuffled.
std::vector<int32_t> plain_spans(int32_t words, const Noise& noise, std::mt19937_64& random) {
  std::poisson_distribution<int64_t> poisson(noise.span);
  const auto masked =
      static_cast<int64_t>(words * noise.mask + std::uniform_real_distribution<double>()(random));
  std::vector<int64_t> lengths;
  for (int64_t left = masked; left > 0; left -= lengths.back())
    lengths.push_back(std::min(left, poisson(random)));
  while (static_cast<int64_t>(lengths.size()) > masked)
    lengths.erase(std::find(lengths.begin(), lengths.end(), 0));
  std::vector<int64_t> items(static_cast<size_t>(words - masked), -1);  // -1: a word
  items.insert(items.end(), lengths.begin(), lengths.end());
  std::shuffle(items.begin(), items.end(), random);
  std::vector<int32_t> text;
  int32_t next = 100;
  for (const int64_t item : items) {
    text.push_back(item < 0 ? next : kMaskId);
    next += item < 0 ? 1 : static_cast<int32_t>(item);
  }
  return text;
}

TEST(Noise, SpansAreThoseOfAPlainDraw) {
  for (const Noise& noise : {Noise{.mask = 0.3, .span = 3.5, .drop = 0, .shuffle = 0},
                             Noise{.mask = 0.5, .span = 0.7, .drop = 0, .shuffle = 0}}) {
    constexpr int32_t kWords = 25;
    constexpr uint64_t kDraws = 20000;
    Gaps own, plain;
    double kept = 0;
    std::mt19937_64 random(5);
    for (uint64_t i = 0; i < kDraws; ++i) {
      const auto text = noisy(ids(kWords), noise, i);
      kept += static_cast<double>(text.size()) -
              static_cast<double>(std::count(text.begin(), text.end(), kMaskId));
      count_gaps(text, kWords, own);
      count_gaps(plain_spans(kWords, noise, random), kWords, plain);
    }
    EXPECT_NEAR(1 - kept / (kWords * kDraws), noise.mask, 0.002);
    EXPECT_GT(plain.size(), 10U);
    for (const auto& [gap, count] : plain) {
      EXPECT_NEAR((own[gap]), count, 5 * std::sqrt(2 * count) + 5)
          << gap.first << " words in " << gap.second << " masks";
    }
  }
}

TEST(Noise, WordsAreDroppedOneByOne) {
  const Noise noise = {.mask = 0, .drop = 0.2, .shuffle = 0};
  constexpr int32_t kWords = 10;
  constexpr int kDraws = 5000;
  std::vector<double> kept(kWords);
  for (int i = 0; i < kDraws; ++i) {
    const auto text = noisy(ids(kWords), noise, static_cast<uint64_t>(i));
    EXPECT_TRUE(std::is_sorted(text.begin(), text.end()));
    for (const int32_t id : text) ++kept[static_cast<size_t>(id - 100)];
  }
  for (const double count : kept) EXPECT_NEAR(count / kDraws, 0.8, 5 * std::sqrt(0.16 / kDraws));
}

TEST(Noise, WordsMoveByAFewPlacesAtMost) {
  for (const int64_t distance : {1, 3, 50}) {
    const Noise noise = {.mask = 0, .drop = 0, .shuffle = distance};
    int64_t farthest = 0;
    for (uint64_t i = 0; i < 300; ++i) {
      const auto text = noisy(ids(12), noise, i);
      auto sorted = text;
      std::sort(sorted.begin(), sorted.end());
      EXPECT_EQ(sorted, ids(12));
      for (size_t k = 0; k < text.size(); ++k)
        farthest = std::max<int64_t>(farthest, std::abs(text[k] - 100 - static_cast<int64_t>(k)));
    }
    EXPECT_EQ(farthest, std::min<int64_t>(distance, 11));
  }
  EXPECT_EQ(noisy(ids(12), {.mask = 0, .drop = 0, .shuffle = 0}, 1), ids(12));
}

TEST(Noise, WordsStayWhole) {
  // Words of 1, 2, 3, 1, ... pieces, of which each but the first is the one before + 1000.
  std::vector<int32_t> pieces;
  std::vector<bool> starts;
  for (int32_t word = 0; word < 15; ++word) {
    for (int32_t i = 0; i <= word % 3; ++i) {
      pieces.push_back(word + 1000 * i);
      starts.push_back(i == 0);
    }
  }
  std::set<size_t> lengths;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto text = add_noise(pieces, starts, {.mask = 0.3, .span = 2, .drop = 0.2, .shuffle = 4}, kMaskId,
                                RandomKey(seed));
    lengths.insert(text.size());
    for (size_t i = 0; i < text.size(); ++i) {
      if (text[i] == kMaskId) continue;
      const int32_t word = text[i] % 1000, piece = text[i] / 1000;
      EXPECT_TRUE(piece == 0 || text[i - 1] == text[i] - 1000);
      EXPECT_TRUE(piece == word % 3 || text.at(i + 1) == text[i] + 1000);
    }
  }
  EXPECT_GT(lengths.size(), 5U);
}

TEST(Noise, WithoutBordersOfWordsEachPieceIsOne) {
  std::vector<bool> starts(20);
  starts[0] = true;
  std::set<size_t> lengths;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    lengths.insert(add_noise(ids(20), starts, {.mask = 0.3, .span = 3, .drop = 0, .shuffle = 0}, kMaskId,
                             RandomKey(seed))
                       .size());
  }
  EXPECT_GT(lengths.size(), 2U);  // as one word it would be 20 or 1
}

TEST(Noise, IsNeverLongerAndAFunctionOfItsKey) {
  for (const Noise& noise :
       {Noise{}, Noise{.mask = 1, .span = 0.5}, Noise{.mask = 1, .span = 32, .drop = 1, .shuffle = 1000},
        Noise{.mask = 0, .drop = 1}, Noise{.mask = 0.9, .span = 0.5, .drop = 0, .shuffle = 0}}) {
    for (const int32_t words : {0, 1, 2, 3, 17, 200}) {
      for (uint64_t seed = 0; seed < 30; ++seed) {
        const auto text = noisy(ids(words), noise, seed);
        EXPECT_LE(text.size(), static_cast<size_t>(words));
        EXPECT_EQ(text, noisy(ids(words), noise, seed));
      }
    }
  }
  EXPECT_NE(noisy(ids(50), {}, 1), noisy(ids(50), {}, 2));
  EXPECT_TRUE(noisy({}, {}, 1).empty());
  EXPECT_EQ(noisy(ids(1), {.mask = 1}, 3), std::vector<int32_t>{kMaskId});
  EXPECT_TRUE(noisy(ids(5), {.mask = 0, .drop = 1}, 3).empty());
  // Of lines with one word, the share that is masked is right too.
  int masked = 0;
  for (uint64_t seed = 0; seed < 4000; ++seed)
    masked += noisy(ids(1), {.mask = 0.3, .drop = 0}, seed)[0] == kMaskId ? 1 : 0;
  EXPECT_NEAR(masked, 1200, 150);
}

}  // namespace
}  // namespace chorus
