#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "kernels/gates.h"
#include "suite_device.h"

namespace chorus {
namespace {

at::Tensor probabilities(const std::vector<std::vector<float>>& rows) {
  std::vector<at::Tensor> tensors;
  for (const auto& row : rows) tensors.push_back(at::tensor(row));
  return there(at::stack(tensors));
}

/// As `preferred` has it, for each of the rows.
at::Tensor alike(int64_t rows, const std::vector<float>& preferred) {
  const at::Tensor row = at::tensor(preferred);
  return there(at::softmax(row, 0).expand({rows, row.numel()}).contiguous());
}

ActiveRows active_rows(const at::Tensor& flags) {
  return ActiveRows(flags, suite_device());
}

std::vector<int64_t> values(const at::Tensor& t) {
  const at::Tensor here = t.cpu();
  return {here.const_data_ptr<int64_t>(), here.const_data_ptr<int64_t>() + here.numel()};
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
  EXPECT_EQ(all.dropped(), 0);
  const Routing some = route(p, {}, {2, 0.5, TokenSelection::position}, RandomKey(1));
  EXPECT_EQ(some.capacity, 2);
  EXPECT_EQ(values(some.kept), (std::vector<int64_t>{0, 1, 0, 1, -1, -1}));
  EXPECT_EQ(values(some.assigned), (std::vector<int64_t>{3, 3}));
}

TEST(Router, ProbabilityKeepsTheMostProbable) {
  const auto p = probabilities({{0.6F, 0.4F}, {0.9F, 0.1F}, {0.8F, 0.2F}});
  const Routing r = route(p, {}, {1, 0.5, TokenSelection::probability}, RandomKey(1));
  EXPECT_EQ(values(r.kept), (std::vector<int64_t>{-1, 0, -1}));
}

TEST(Router, ProbabilityTakesFirstChoicesBeforeSecondOnes) {
  // Expert 0 is the third token's second choice, though more probable than as the second token's first one; of the
  // first choices, the surest is kept. (fairseq orders tokens by the largest gate, and second choices behind all first
  // ones.)
  const auto p = probabilities({{0.4F, 0.3F, 0.3F}, {0.5F, 0.1F, 0.4F}, {0.45F, 0.55F, 0.0F}});
  const Routing r = route(p, {}, {2, 0.5, TokenSelection::probability}, RandomKey(1));
  EXPECT_EQ(r.capacity, 1);
  EXPECT_EQ(values(r.experts), (std::vector<int64_t>{0, 1, 0, 2, 1, 0}));
  EXPECT_EQ(values(r.kept), (std::vector<int64_t>{-1, -1, 0, 2, 1, -1}));
  const Routing two = route(p, {}, {2, 1.0, TokenSelection::probability}, RandomKey(1));
  EXPECT_EQ(two.capacity, 2);
  EXPECT_EQ(values(two.kept), (std::vector<int64_t>{0, 1, 0, 2, 1, -1}));
}

TEST(Router, RandomSelectionIsFairAndRepeatable) {
  // 8 tokens, one expert wanted by all, capacity 4: over many keys every position is kept about half of the
  // time.
  const at::Tensor p = alike(8, {2, 0});
  std::vector<int> kept(8);
  const int trials = suite_device().is_cpu() ? 2000 : 200;
  for (int trial = 0; trial < trials; ++trial) {
    const Routing r = route(p, {}, {1, 1.0, TokenSelection::random}, RandomKey(static_cast<uint64_t>(trial)));
    const std::vector<int64_t> once = values(r.kept);
    EXPECT_EQ(
        once,
        values(route(p, {}, {1, 1.0, TokenSelection::random}, RandomKey(static_cast<uint64_t>(trial))).kept));
    EXPECT_EQ(r.dropped(), 4);
    for (size_t t = 0; t < 8; ++t) kept[t] += once[t] >= 0;
  }
  for (const int count : kept) {
    EXPECT_NEAR(count, trials / 2, 4.5 * std::sqrt(trials * 0.25)) << "position bias";
  }
}

TEST(Router, PaddingTakesNoPlace) {
  const at::Tensor p = alike(6, {2, 0});
  const at::Tensor active = at::tensor(std::vector<int64_t>{0, 0, 1, 1, 0, 0}).to(at::kBool);
  const Routing r = route(p, active_rows(active), {1, 1.0, TokenSelection::position}, RandomKey(1));
  EXPECT_EQ(r.tokens, 2);
  EXPECT_EQ(r.capacity, 1);
  EXPECT_EQ(values(r.kept), (std::vector<int64_t>{-1, -1, 0, -1, -1, -1}));
  EXPECT_EQ(values(r.experts), (std::vector<int64_t>{-1, -1, 0, 0, -1, -1}));
}

TEST(Router, ACapacityOfSentencesCountsInEachByItself) {
  const std::vector<float> a = {0.9F, 0.1F}, b = {0.2F, 0.8F};
  const at::Tensor active = at::tensor(std::vector<int64_t>{1, 1, 1, 1, 0, 1, 1, 1}).to(at::kBool);
  const RoutingOptions options = {.capacity_factor = 0.1,
                                  .selection = TokenSelection::probability,
                                  .sentence_capacity = 1,
                                  .sentence_length = 4};
  const Routing r =
      route(probabilities({a, a, b, b, a, a, b, a}), active_rows(active), options, RandomKey(1));
  EXPECT_EQ(r.capacity, 1);
  EXPECT_EQ(r.dropped(), 3);
  EXPECT_EQ(values(r.kept), (std::vector<int64_t>{0, -1, 1, -1, -1, 0, 1, -1}));
  EXPECT_EQ(values(r.assigned), (std::vector<int64_t>{4, 3}));
  // With two choices, all first ones come before all second ones.
  const Routing two = route(probabilities({a, b}), {},
                            {.top_k = 2, .sentence_capacity = 1, .sentence_length = 2}, RandomKey(1));
  EXPECT_EQ(values(two.kept), (std::vector<int64_t>{0, -1, 1, -1}));
}

TEST(Router, NothingToRoute) {
  const Routing r = route(there(at::zeros({0, 4})), {}, {2, 1.0, TokenSelection::random}, RandomKey(1));
  EXPECT_EQ(r.tokens, 0);
  EXPECT_EQ(r.dropped(), 0);
  const Routing padding = route(there(at::full({3, 4}, 0.25)), active_rows(at::zeros({3}, at::kBool)),
                                {2, 1.0, TokenSelection::random}, RandomKey(1));
  EXPECT_EQ(padding.tokens, 0);
  EXPECT_EQ(values(padding.kept), std::vector<int64_t>(6, -1));
}

TEST(Router, TiesGoToTheLowestExpertAndNotANumberDoesNotCrash) {
  const Routing tie =
      route(there(at::full({2, 4}, 0.25)), {}, {2, 0, TokenSelection::position}, RandomKey(1));
  EXPECT_EQ(values(tie.experts), (std::vector<int64_t>{0, 1, 0, 1}));
  const Routing nan =
      route(there(at::full({2, 4}, std::nan(""))), {}, {2, 1.0, TokenSelection::probability}, RandomKey(1));
  EXPECT_EQ(nan.tokens, 2);
}

TEST(Router, BalanceLossIsOneWhenBalancedAndEWhenCollapsed) {
  for (const bool collapsed : {false, true}) {
    const at::Tensor p = collapsed ? at::tensor(std::vector<float>{1, 0, 0, 0}).expand({8, 4}).contiguous()
                                   : at::eye(4).repeat({2, 1});
    const Routing r = route(there(p), {}, {1, 0, TokenSelection::position}, RandomKey(1));
    const at::Tensor g = balance_loss_gradient(r.assigned, r.tokens, 1).cpu();
    const at::Tensor mass = p.sum(0);
    double loss = 0;
    for (int64_t e = 0; e < 4; ++e) loss += g[e].item<double>() * mass[e].item<double>();
    EXPECT_NEAR(loss, collapsed ? 4 : 1, 1e-6);
  }
}

Routing here(Routing routing) {
  routing.experts = routing.experts.cpu();
  routing.kept = routing.kept.cpu();
  return routing;
}

/// The same decisions by sorting: slots (row * k + choice) that are kept.
std::vector<bool> plainly_kept(const at::Tensor& p, const Routing& routing, const RoutingOptions& options,
                               RandomKey key) {
  const int64_t rows = p.size(0), experts = p.size(1), k = options.top_k;
  std::vector<bool> kept(rows * k);
  for (int64_t e = 0; e < experts; ++e) {
    // Least first is kept: of what comes first, priority, order, slot.
    std::vector<std::tuple<int64_t, double, int64_t, int64_t>> wanted;
    for (int64_t slot = 0; slot < rows * k; ++slot) {
      if (routing.experts.view(-1)[slot].item<int64_t>() != e) continue;
      const int64_t row = slot / k, choice = slot % k;
      const bool by_probability = options.selection == TokenSelection::probability;
      const double priority = by_probability                                ? p[row].max().item<double>()
                              : options.selection == TokenSelection::random ? key.uniform(row * experts + e)
                                                                            : 0;
      wanted.emplace_back(by_probability ? choice : 0, -priority, choice * rows + row, slot);
    }
    std::sort(wanted.begin(), wanted.end());
    for (size_t i = 0; i < wanted.size() && std::cmp_less(i, routing.capacity); ++i)
      kept[std::get<3>(wanted[i])] = true;
  }
  return kept;
}

TEST(Router, EqualsAPlainOneThatSorts) {
  for (const int64_t rows : {1, 2, 31})
    for (const int64_t experts : {3, 8})
      for (const int64_t k : {1, 2, 3})
        for (const double factor : {0.0, 0.3, 1.0})
          for (const auto selection :
               {TokenSelection::position, TokenSelection::probability, TokenSelection::random}) {
            const at::Tensor p = at::softmax(at::randn({rows, experts}), 1);
            const at::Tensor active = at::rand({rows}) > 0.3;
            const RoutingOptions options = {k, factor, selection};
            const Routing there_routed = route(there(p), active_rows(active), options, RandomKey(6));
            const Routing r = here(there_routed);
            const at::Tensor best = std::get<1>(at::topk(p, k, 1));
            const std::vector<bool> kept = plainly_kept(p, r, options, RandomKey(6));
            int64_t dropped = 0;
            for (int64_t slot = 0; slot < rows * k; ++slot) {
              const auto chosen = r.experts.view(-1)[slot].item<int64_t>();
              EXPECT_EQ(chosen, active[slot / k].item<bool>() ? best.view(-1)[slot].item<int64_t>() : -1);
              EXPECT_EQ(r.kept.view(-1)[slot].item<int64_t>(), kept[slot] ? chosen : -1);
              dropped += chosen >= 0 && !kept[slot];
            }
            EXPECT_EQ(there_routed.dropped(), dropped);
          }
}

TEST(Gates, EqualAPlainCompositionForwardAndBackward) {
  const auto epsilon = std::numeric_limits<float>::epsilon();
  for (const double sharpness : {1.0, 30.0})  // at 30 sums of what was kept fall below epsilon
    for (const int64_t k : {1, 2, 3})
      for (const auto kind :
           {GateNormalization::none, GateNormalization::before_drop, GateNormalization::after_drop}) {
        const at::Tensor p = at::softmax(at::randn({31, 5}, at::kDouble) * sharpness, 1).requires_grad_(true);
        const at::Tensor p_there = there(p.detach());
        const Routing r_there = route(p_there.to(at::kFloat), active_rows(at::rand({31}) > 0.2),
                                      {k, 0.4, TokenSelection::random}, RandomKey(2));
        const Routing r = here(r_there);
        const at::Tensor kept = r.kept.ge(0).to(at::kDouble), all = r.experts.ge(0).to(at::kDouble);
        const at::Tensor chosen = p.gather(1, r.experts.clamp_min(0));
        at::Tensor divisor = at::ones({31, 1}, at::kDouble);
        if (kind != GateNormalization::none)
          divisor = (chosen * (kind == GateNormalization::before_drop ? all : kept))
                        .sum(1, true)
                        .clamp_min(epsilon);
        const at::Tensor expected = chosen * kept / divisor;
        EXPECT_TRUE(at::allclose(gates(p_there, r_there, kind).cpu(), expected, 1e-12, 1e-14));
        const at::Tensor grad = at::randn_like(expected);
        torch::autograd::backward({expected}, {grad});
        // In units of what the gradient is a difference of.
        EXPECT_TRUE(at::allclose(gates_backward(p_there, r_there, kind, there(grad)).cpu() * divisor,
                                 p.grad() * divisor, 1e-10, 1e-12));
      }
}

}  // namespace
}  // namespace chorus
