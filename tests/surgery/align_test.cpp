#include "surgery/internal/align.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace chorus {
namespace {

double total(const at::Tensor& scores, const std::vector<int64_t>& columns) {
  double sum = 0;
  for (size_t row = 0; row < columns.size(); ++row)
    sum += scores[static_cast<int64_t>(row)][columns[row]].item<double>();
  return sum;
}

TEST(BestAssignment, IsNoWorseThanAnyOther) {
  for (const int64_t n : {1, 2, 3, 5, 7}) {
    for (int round = 0; round < 10; ++round) {
      const at::Tensor scores = round % 2 == 0 ? at::randn({n, n}) : at::rand({n, n}).mul_(4).floor_();
      std::vector<int64_t> permutation(n);
      std::iota(permutation.begin(), permutation.end(), int64_t{0});
      double best = -1e30;
      do {
        best = std::max(best, total(scores, permutation));
      } while (std::ranges::next_permutation(permutation).found);
      std::vector<int64_t> found = best_assignment(scores);
      EXPECT_NEAR(total(scores, found), best, 1e-5) << n;
      std::ranges::sort(found);
      std::ranges::sort(permutation);
      EXPECT_EQ(found, permutation) << "each column once";
    }
  }
}

TEST(BestAssignment, OfEqualScoresIsAPermutation) {
  std::vector<int64_t> found = best_assignment(at::zeros({6, 6}));
  std::ranges::sort(found);
  EXPECT_EQ(found, (std::vector<int64_t>{0, 1, 2, 3, 4, 5}));
}

TEST(BestAssignment, EndsOnScoresThatAreNotFinite) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    EXPECT_THROW(best_assignment(at::full({4, 4}, bad)), Error) << bad;
    at::Tensor scores = at::zeros({4, 4});
    scores[1].fill_(bad);
    EXPECT_THROW(best_assignment(scores), Error) << bad;
  }
}

}  // namespace
}  // namespace chorus
