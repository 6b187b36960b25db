#include "chorus/moe/router.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

namespace chorus {
namespace {

at::Tensor probabilities(const std::vector<std::vector<float>>& rows) {
  std::vector<at::Tensor> tensors;
  for (const auto& row : rows) tensors.push_back(at::tensor(row));
  return at::stack(tensors);
}

std::vector<int64_t> values(const at::Tensor& t) {
  return {t.const_data_ptr<int64_t>(), t.const_data_ptr<int64_t>() + t.numel()};
}

TEST(Router, CapacityIsTheCeilingOfTheShare) {
  EXPECT_EQ(expert_capacity(1.0, 1, 10, 4), 3);
  EXPECT_EQ(expert_capacity(1.0, 1, 8, 4), 2);
  EXPECT_EQ(expert_capacity(1.25, 2, 8, 4), 5);
  EXPECT_EQ(expert_capacity(0, 1, 10, 4), 10);
  EXPECT_EQ(expert_capacity(1.0, 1, 1, 64), 1);
}

TEST(Router, PositionKeepsTheFirstChoicesFirst) {
  // Three tokens prefer expert 0 with 1 second; capacity ceil(1 * 2 * 3 / 2) = 3 each for E = 2: nothing
  // drops; with factor 0.5 two places: the third token's first choice goes, as do second choices beyond two.
  const auto p = probabilities({{0.9F, 0.1F}, {0.8F, 0.2F}, {0.7F, 0.3F}});
  const Routing all = route(p, {}, {2, 1.0, TokenSelection::position}, RandomKey(1));
  EXPECT_EQ(all.dropped, 0);
  const Routing some = route(p, {}, {2, 0.5, TokenSelection::position}, RandomKey(1));
  EXPECT_EQ(some.capacity, 2);
  EXPECT_EQ(values(some.kept), (std::vector<int64_t>{0, 1, 0, 1, -1, -1}));
  EXPECT_EQ(some.assigned, (std::vector<int64_t>{3, 3}));
}

TEST(Router, ProbabilityKeepsTheMostProbable) {
  const auto p = probabilities({{0.6F, 0.4F}, {0.9F, 0.1F}, {0.8F, 0.2F}});
  const Routing r = route(p, {}, {1, 0.5, TokenSelection::probability}, RandomKey(1));
  EXPECT_EQ(values(r.kept), (std::vector<int64_t>{-1, 0, -1}));
}

TEST(Router, RandomSelectionIsFairAndRepeatable) {
  // 8 tokens, one expert wanted by all, capacity 4: over many keys every position is kept about half of the
  // time.
  const at::Tensor p = at::softmax(at::tensor(std::vector<float>{2, 0}), 0).expand({8, 2}).contiguous();
  std::vector<int> kept(8);
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    const Routing r = route(p, {}, {1, 1.0, TokenSelection::random}, RandomKey(static_cast<uint64_t>(trial)));
    EXPECT_EQ(
        values(r.kept),
        values(route(p, {}, {1, 1.0, TokenSelection::random}, RandomKey(static_cast<uint64_t>(trial))).kept));
    EXPECT_EQ(r.dropped, 4);
    for (size_t t = 0; t < 8; ++t) kept[t] += r.kept[static_cast<int64_t>(t)].item<int64_t>() >= 0;
  }
  for (const int count : kept) {
    EXPECT_NEAR(count, kTrials / 2, 4.5 * std::sqrt(kTrials * 0.25)) << "position bias";
  }
}

TEST(Router, PaddingTakesNoPlace) {
  const at::Tensor p = at::softmax(at::tensor(std::vector<float>{2, 0}), 0).expand({6, 2}).contiguous();
  const at::Tensor active = at::tensor(std::vector<int64_t>{0, 0, 1, 1, 0, 0}).to(at::kBool);
  const Routing r = route(p, active, {1, 1.0, TokenSelection::position}, RandomKey(1));
  EXPECT_EQ(r.tokens, 2);
  EXPECT_EQ(r.capacity, 1);
  EXPECT_EQ(values(r.kept), (std::vector<int64_t>{-1, -1, 0, -1, -1, -1}));
  EXPECT_EQ(values(r.experts), (std::vector<int64_t>{-1, -1, 0, 0, -1, -1}));
}

TEST(Router, NothingToRoute) {
  const Routing r = route(at::zeros({0, 4}), {}, {2, 1.0, TokenSelection::random}, RandomKey(1));
  EXPECT_EQ(r.tokens, 0);
  EXPECT_EQ(r.dropped, 0);
  const Routing padding = route(at::full({3, 4}, 0.25), at::zeros({3}, at::kBool),
                                {2, 1.0, TokenSelection::random}, RandomKey(1));
  EXPECT_EQ(padding.tokens, 0);
  EXPECT_EQ(values(padding.kept), std::vector<int64_t>(6, -1));
}

TEST(Router, TiesGoToTheLowestExpertAndNotANumberDoesNotCrash) {
  const Routing tie = route(at::full({2, 4}, 0.25), {}, {2, 0, TokenSelection::position}, RandomKey(1));
  EXPECT_EQ(values(tie.experts), (std::vector<int64_t>{0, 1, 0, 1}));
  const Routing nan =
      route(at::full({2, 4}, std::nan("")), {}, {2, 1.0, TokenSelection::probability}, RandomKey(1));
  EXPECT_EQ(nan.tokens, 2);
}

TEST(Router, BalanceLossIsOneWhenBalancedAndEWhenCollapsed) {
  for (const bool collapsed : {false, true}) {
    const at::Tensor p = collapsed ? at::tensor(std::vector<float>{1, 0, 0, 0}).expand({8, 4}).contiguous()
                                   : at::eye(4).repeat({2, 1});
    const Routing r = route(p, {}, {1, 0, TokenSelection::position}, RandomKey(1));
    const std::vector<double> g = balance_loss_gradient(r);
    const at::Tensor mass = p.sum(0);
    double loss = 0;
    for (int64_t e = 0; e < 4; ++e) loss += g[static_cast<size_t>(e)] * mass[e].item<double>();
    EXPECT_NEAR(loss, collapsed ? 4 : 1, 1e-6);
  }
}

}  // namespace
}  // namespace chorus
