#include "base/random.h"

#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace chorus {
namespace {

// The known-answer vectors that Random123 ships for philox4x32-10.
TEST(Philox, MatchesThePublishedVectors) {
  const std::array<uint32_t, 4> zeros = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
  const std::array<uint32_t, 4> ones = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
  EXPECT_EQ(philox(0, 0, 0), zeros);
  EXPECT_EQ(philox(~0ULL, ~0ULL, ~0ULL), ones);
}

TEST(RandomKey, DrawsAreUniformAndNormal) {
  const RandomKey key = RandomKey(1).derive("test");
  double sum = 0, normal_sum = 0, normal_squares = 0;
  constexpr int kDraws = 200000;
  for (int i = 0; i < kDraws; ++i) {
    const float u = key.uniform(i);
    ASSERT_GE(u, 0.0F);
    ASSERT_LT(u, 1.0F);
    sum += u;
    const float n = key.normal(i);
    normal_sum += n;
    normal_squares += n * n;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 0.005);
  EXPECT_NEAR(normal_sum / kDraws, 0.0, 0.01);
  EXPECT_NEAR(normal_squares / kDraws, 1.0, 0.02);
}

TEST(RandomKey, NamesAndNumbersGiveDistinctKeys) {
  std::set<uint64_t> keys;
  const RandomKey root(7);
  for (uint64_t i = 0; i < 1000; ++i) {
    keys.insert(root.derive(i).value());
    keys.insert(root.derive(std::to_string(i)).value());
  }
  EXPECT_EQ(keys.size(), 2000U);
}

TEST(RandomKey, BelowStaysBelow) {
  std::vector<int> counts(7, 0);
  for (int i = 0; i < 70000; ++i) {
    ++counts.at(RandomKey(3).below(i, 7));
  }
  for (const int count : counts) {
    EXPECT_NEAR(count, 10000, 500);
  }
}

TEST(Permute, IsABijectionForOddSizes) {
  for (const uint64_t size : {1, 2, 3, 5, 16, 17, 1000, 4097}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < size; ++i) {
      const uint64_t p = permute(RandomKey(size), i, size);
      ASSERT_LT(p, size);
      seen.insert(p);
    }
    EXPECT_EQ(seen.size(), size);
  }
}

}  // namespace
}  // namespace chorus
