#include "kernels/cross_entropy.h"

#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"
#include "suite_device.h"

#include "kernels/internal/backend.h"

namespace chorus {
namespace {

constexpr CrossEntropyOptions kOptions = {.label_smoothing = 0.1, .gradient_scale = 0.5};

TEST(Exponential, IsAccurateBelowZero) {
  double worst = 0;
  for (double x = -87; x <= 0; x += 0.00137) {
    const auto argument = static_cast<float>(x);
    const double exact = std::exp(static_cast<double>(argument));
    worst = std::max(worst, std::abs(exponential(argument) - exact) / exact);
  }
  EXPECT_LT(worst, 1.5e-7);
  EXPECT_EQ(exponential(0.0F), 1.0F);
  EXPECT_LT(exponential(-std::numeric_limits<float>::infinity()), 1e-37F);
  EXPECT_TRUE(std::isnan(exponential(std::nanf(""))));
}

/// Types of the logits and of the gradient, which lie on the suites' device.
class CrossEntropy : public testing::TestWithParam<std::pair<at::ScalarType, at::ScalarType>> {
 protected:
  ~CrossEntropy() override { limit_isa(Isa::avx512_bf16); }
  static at::Tensor logits(int64_t rows, int64_t width) {
    return there(at::randn({rows, width}).mul_(5).to(GetParam().first));
  }
  static at::Tensor gradient_like(const at::Tensor& x) { return at::empty_like(x, GetParam().second); }
};

TEST_P(CrossEntropy, MatchesTheFormulaInDouble) {
  const double tolerance = GetParam().first == at::kDouble ? 1e-12 : 2e-6;
  for (const int64_t width : {1, 2, 63, 64, 65, 1000, 32'003}) {
    const auto x = logits(7, width);
    const auto labels = at::randint(0, width, {7}, at::kLong);
    const at::Tensor ours = gradient_like(x), exact = x.cpu().to(at::kDouble, false, true);
    const at::Tensor rows = cross_entropy_rows(x, there(labels), kOptions, ours).cpu();
    const auto reference = composed_backend().cross_entropy_rows(exact, labels, kOptions, exact);
    EXPECT_TRUE(at::equal(rows.select(1, kCorrect), reference.select(1, kCorrect)));
    EXPECT_TRUE(at::allclose(rows, reference, tolerance, tolerance));
    // Absolute: the entry of the label is a difference of numbers near one.
    const double rounding = GetParam().second == at::kBFloat16 ? 4e-3 : tolerance;
    EXPECT_TRUE(at::allclose(ours.cpu().to(at::kDouble), exact, rounding, 1e-6));
  }
}

TEST_P(CrossEntropy, HasTheSameBitsWithAnyThreadsAndInstructions) {
  const auto x = logits(9, 1003);
  const at::Tensor labels = there(at::randint(0, 1003, {9}, at::kLong));
  const at::Tensor best = gradient_like(x), plain = gradient_like(x);
  const int threads = at::get_num_threads();
  const auto first = cross_entropy_rows(x, labels, kOptions, best);
  limit_isa(Isa::plain);
  at::set_num_threads(1);
  const auto second = cross_entropy_rows(x, labels, kOptions, plain);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(first, second));
  EXPECT_TRUE(at::equal(best, plain));
}

TEST_P(CrossEntropy, WritesTheGradientOverTheLogitsWhenAsked) {
  at::Tensor x = logits(3, 100);
  const at::Tensor before = x.clone(), apart = at::empty_like(x);
  const at::Tensor labels = there(at::randint(0, 100, {3}, at::kLong));
  cross_entropy_rows(x, labels, kOptions, apart);
  EXPECT_TRUE(at::equal(x, before));
  cross_entropy_rows(x, labels, kOptions, x);
  EXPECT_TRUE(at::equal(x, apart));
}

TEST_P(CrossEntropy, StandsLargeLogitsAndShowsNan) {
  const at::Tensor x =
      there(at::tensor({1e4, -1e4, 0.0, 1e4, 1e4, 0.0}, at::kDouble).view({2, 3}).to(GetParam().first));
  const at::Tensor gradient = gradient_like(x);
  const at::Tensor rows = cross_entropy_rows(x, there(at::tensor({0, 2}, at::kLong)), {}, gradient).cpu();
  EXPECT_NEAR(rows[0][kNll].item<double>(), 0, 1e-6);
  EXPECT_NEAR(rows[1][kNll].item<double>() / 1e4, 1, 1e-3);
  EXPECT_EQ(rows[0][kCorrect].item<double>(), 1);
  EXPECT_EQ(rows[1][kCorrect].item<double>(), 0);
  EXPECT_TRUE(gradient.isfinite().all().item<bool>());
  for (const int64_t width : {3, 200}) {
    at::Tensor broken = logits(1, width);
    broken[0][1] = std::nan("");
    const at::Tensor rows_of_broken = cross_entropy_rows(broken, there(at::tensor({0}, at::kLong)), {});
    EXPECT_FALSE(std::isfinite(rows_of_broken.cpu()[0][kLoss].item<double>())) << width;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CrossEntropy,
                         testing::Values(std::pair(at::kFloat, at::kFloat),
                                         std::pair(at::kFloat, at::kBFloat16),
                                         std::pair(at::kDouble, at::kDouble)));

TEST(CrossEntropyReference, IsTorchsOwn) {
  const auto logits = at::randn({7, 50}, at::kDouble);
  const auto labels = at::randint(0, 50, {7}, at::kLong);
  const at::Tensor ours = at::empty_like(logits);
  const auto rows = cross_entropy_rows(logits, labels, {.label_smoothing = 0.2}, ours);
  const auto leaf = logits.clone().requires_grad_();
  const auto loss = at::cross_entropy_loss(leaf, labels, {}, at::Reduction::None, -100, 0.2);
  EXPECT_TRUE(at::allclose(rows.select(1, kLoss), loss, 0, 1e-12));
  loss.sum().backward();
  EXPECT_TRUE(at::allclose(ours, leaf.grad(), 1e-10, 1e-12));
}

}  // namespace
}  // namespace chorus
