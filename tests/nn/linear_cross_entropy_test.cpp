#include "nn/linear_cross_entropy.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "suite_device.h"

namespace chorus {
namespace {

constexpr int64_t kIgnore = 1;

Parameter parameter_of(const at::Tensor& value) {
  const auto type = value.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  // NaN: the first contribution must overwrite.
  return {value, at::full(value.sizes(), std::nan(""), value.options().dtype(type))};
}

struct Case {
  int64_t rows, vocabulary, width;
  double padding;  // share of ignored rows
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.rows << "x" << c.vocabulary << "x" << c.width << " " << c.padding;
}

class LinearCrossEntropyTest : public testing::TestWithParam<std::tuple<at::ScalarType, Case>> {};

TEST_P(LinearCrossEntropyTest, MatchesAPlainCompositionInDouble) {
  const auto [type, c] = GetParam();
  const bool host = suite_device().is_cpu();
  if (!host && c.vocabulary > 60'000) GTEST_SKIP() << "takes seconds, and is one chunk there";
  const bool rounded = type == at::kBFloat16 && !host;  // logits too; on the host gradients alone
  const double exact = type == at::kDouble ? 1e-10 : rounded ? 1e-2 : 1e-5;  // of losses
  const double tolerance = type == at::kBFloat16 ? 2e-2 : exact;  // a sum of few rounded terms may cancel
  const auto random = [&, type = type](int64_t rows, int64_t columns) {  // the same numbers everywhere
    return there(at::randn({rows, columns}).to(type));
  };
  const auto hidden = random(c.rows, c.width), value = random(c.vocabulary, c.width).mul_(0.3);
  auto labels = at::randint(2, c.vocabulary, {c.rows}, at::kLong);
  labels.masked_fill_(at::rand({c.rows}) < c.padding, kIgnore);
  const auto labels_there = there(labels), predicted = labels_there.ne(kIgnore);

  Parameter weight = parameter_of(value);
  Parameter bias = parameter_of(random(1, c.vocabulary));
  const LinearCrossEntropyOptions options = {
      .ignore = kIgnore, .label_smoothing = 0.1, .gradient_scale = 0.125, .gradient = true, .bias = &bias};
  const LinearCrossEntropy ours = linear_cross_entropy(hidden, weight, labels, options);
  const LinearCrossEntropy::Sums sums = ours.sums(c.rows);

  const auto h = hidden.to(at::kDouble).requires_grad_(), w = value.to(at::kDouble).requires_grad_();
  const auto b = bias.value.detach().to(at::kDouble).requires_grad_();
  const auto logits = h.mm(w.t()) + b;
  const auto loss = at::cross_entropy_loss(logits, labels_there, {}, at::Reduction::Sum, kIgnore, 0.1);
  const auto nll = at::cross_entropy_loss(logits, labels_there, {}, at::Reduction::None, kIgnore).detach();
  (loss * 0.125).backward();
  const double sum = loss.item<double>();
  EXPECT_NEAR(sums.loss, sum, exact * (1 + sum));
  EXPECT_NEAR(sums.nll, nll.sum().item<double>(), exact * (1 + sum));
  EXPECT_EQ(ours.tokens, predicted.sum().item<int64_t>());
  EXPECT_EQ(sums.correct, (logits.argmax(1).eq(labels_there) & predicted).sum().item<int64_t>());
  EXPECT_EQ(ours.grad_hidden.scalar_type(), type);
  const auto error = [](const at::Tensor& x, const at::Tensor& y) {
    return ((x.to(at::kDouble) - y).norm() / (y.norm() + 1e-30)).item<double>();
  };
  const double of_token = std::max(exact, 1e-5);
  EXPECT_TRUE(at::allclose(sums.token_nll.to(at::kDouble), nll.cpu(), of_token, of_token));
  EXPECT_LT(error(ours.grad_hidden, h.grad()), tolerance);
  EXPECT_EQ(ours.grad_hidden.index({~predicted}).abs().sum().item<double>(), 0);
  if (ours.tokens > 0) {
    EXPECT_TRUE(weight.has_gradient);
    EXPECT_LT(error(weight.gradient, w.grad()), tolerance);
    EXPECT_LT(error(bias.gradient, b.grad()), tolerance);
    linear_cross_entropy(hidden, weight, labels, options);
    EXPECT_LT(error(weight.gradient, w.grad() * 2), tolerance) << "the second contribution adds";
  } else {
    EXPECT_FALSE(weight.has_gradient);
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, LinearCrossEntropyTest,
                         testing::Combine(testing::Values(at::kFloat, at::kBFloat16, at::kDouble),
                                          testing::Values(Case{1, 3, 1, 0}, Case{37, 501, 33, 0.3},
                                                          Case{100, 1000, 64, 0}, Case{5, 40, 8, 1.1},
                                                          Case{0, 40, 8, 0},
                                                          Case{700, 66'000, 4, 0.1})));  // several chunks

TEST(LinearCrossEntropyErrors, RefuseLabelsOutsideTheVocabulary) {
  Parameter weight = parameter_of(at::randn({10, 4}, there(at::kFloat)));
  const auto hidden = at::randn({3, 4}, there(at::kFloat));
  for (const int64_t label : {-1, 10}) {
    EXPECT_THROW(linear_cross_entropy(hidden, weight, at::full({3}, label, at::kLong), {}), Error);
  }
  EXPECT_THROW(linear_cross_entropy(hidden, weight, at::full({2}, 3, at::kLong), {}), Error);
  EXPECT_EQ(linear_cross_entropy(hidden, weight, at::full({3}, -1, at::kLong), {.ignore = -1}).tokens, 0);
}

TEST(LinearCrossEntropyEvaluation, ReturnsNoGradientAndTouchesNone) {
  Parameter weight = parameter_of(at::randn({10, 4}, there(at::kFloat)));
  const auto result =
      linear_cross_entropy(at::randn({3, 4}, there(at::kFloat)), weight, at::full({3, 1}, 7, at::kLong), {});
  EXPECT_FALSE(result.grad_hidden.defined());
  EXPECT_FALSE(result.sums().token_nll.defined());
  EXPECT_FALSE(weight.has_gradient);
  EXPECT_EQ(result.tokens, 3);
}

TEST(LinearCrossEntropyEvaluation, IsThatOfEachRowAlone) {
  Parameter weight = parameter_of(at::randn({1000, 64}, there(at::kFloat)));
  const auto hidden = at::randn({5, 64}, there(at::kFloat));
  const auto labels = at::randint(2, 1000, {5}, at::kLong);
  const auto together = linear_cross_entropy(hidden, weight, labels, {}).sums(5);
  for (int64_t row = 0; row < 5; ++row) {
    const auto alone = linear_cross_entropy(hidden.narrow(0, row, 1), weight, labels.narrow(0, row, 1), {});
    EXPECT_NEAR(alone.sums().nll, together.token_nll[row].item<double>(), 1e-4);
  }
}

}  // namespace
}  // namespace chorus
