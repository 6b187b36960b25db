// The loss over ranks that have parts of the vocabulary.
#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "nn/linear_cross_entropy.h"
#include "parallel/mesh.h"
#include "ranks/ranks.h"

namespace chorus {
namespace {

Parameter parameter_of(const at::Tensor& value) {
  return {value, at::zeros_like(value)};
}

TEST(CutLoss, RanksWithPartsOfUnlikeWidthTakeTheSameRowsAtATime) {
  if (ranks().size() != 2) GTEST_SKIP() << "the numbers are for two ranks";
  // One rank would have room for all rows at once, the other, with a column more, would not.
  constexpr int64_t kVocabulary = 16'001, kWidth = 4, kRows = (16 << 20) / (kVocabulary / 2);
  Parallel p(ranks(), make_mesh({.tp = 2}, 2, {.heads = 2, .ffn = 2}));
  at::manual_seed(3);
  const at::Tensor hidden = at::randn({kRows, kWidth}), whole = at::randn({kVocabulary, kWidth}),
                   labels = at::randint(2, kVocabulary, {kRows}, at::kLong);
  const Stretch own = part_of(kVocabulary, p.tp.rank(), 2);
  Parameter part = parameter_of(whole.narrow(0, own.first, own.count).contiguous()),
            all = parameter_of(whole);
  const LinearCrossEntropy cut = linear_cross_entropy(
      hidden, part, labels,
      {.gradient = true, .cut = {.over = &p.tp, .first = own.first, .total = kVocabulary}});
  const LinearCrossEntropy alone = linear_cross_entropy(hidden, all, labels, {.gradient = true});
  EXPECT_NEAR(cut.sums().loss / alone.sums().loss, 1, 1e-6);
  EXPECT_TRUE(at::allclose(cut.grad_hidden, alone.grad_hidden, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(part.gradient, all.gradient.narrow(0, own.first, own.count), 1e-4, 1e-4));
}

}  // namespace
}  // namespace chorus
