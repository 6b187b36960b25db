#include "kernels/linear_rows.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"

namespace chorus {
namespace {

struct LinearShape {
  int64_t rows, depth, columns;
};

class LinearRows : public testing::TestWithParam<std::tuple<at::ScalarType, Isa>> {
 protected:
  LinearRows() { limit_isa(std::get<1>(GetParam())); }
  ~LinearRows() override { limit_isa(Isa::avx512_bf16); }
  [[nodiscard]] at::ScalarType type() const { return std::get<0>(GetParam()); }
  /// Relative to the root of the depth: inputs may be rounded to bf16.
  [[nodiscard]] double tolerance() const {
    return type() == at::kBFloat16 && cpu_isa() == Isa::avx512_bf16 ? 2e-2 : 1e-5;
  }
};

TEST_P(LinearRows, EqualAPlainProduct) {
  for (const LinearShape s :
       {LinearShape{0, 8, 8}, LinearShape{1, 1, 1}, LinearShape{1, 512, 6}, LinearShape{2, 17, 61},
        LinearShape{3, 40, 5}, LinearShape{4, 64, 64}, LinearShape{5, 1100, 67}, LinearShape{7, 512, 200},
        LinearShape{130, 513, 123}}) {
    SCOPED_TRACE(testing::Message() << s.rows << " x " << s.depth << " x " << s.columns);
    const auto x = at::randn({s.rows, s.depth});
    const auto weight = at::randn({s.columns, s.depth}).to(type()), bias = at::randn({s.columns}).to(type());
    const auto residual = at::randn({s.rows, s.columns});
    const auto product = at::mm(x.to(at::kDouble), weight.to(at::kDouble).t());
    const double bound = tolerance() * std::sqrt(static_cast<double>(s.depth)) * 4;
    const auto close = [&](const at::Tensor& actual, const at::Tensor& expected) {
      return at::allclose(actual.to(at::kDouble), expected, 0, bound);
    };
    EXPECT_TRUE(close(linear_rows(x, weight), product));
    const auto shifted = product + bias.to(at::kDouble);
    EXPECT_TRUE(close(linear_rows(x, weight, {.bias = bias}), shifted));
    EXPECT_TRUE(close(linear_rows(x, weight, {.bias = bias, .relu = true, .residual = residual}),
                      shifted.clamp_min(0) + residual.to(at::kDouble)));
    EXPECT_TRUE(close(linear_rows(x, weight.view({s.columns, 1, s.depth}), {.residual = residual}),
                      product + residual.to(at::kDouble)));
  }
}

TEST_P(LinearRows, AreTheSameBitsWhateverTheOtherRowsAndThreads) {
  const auto x = at::randn({8, 700}), weight = at::randn({129, 700}).to(type());
  const auto together = linear_rows(x, weight);
  const int threads = at::get_num_threads();
  for (int64_t count = 1; count <= 8; ++count) {
    at::set_num_threads(count % 2 == 0 ? 1 : 3);
    EXPECT_TRUE(at::equal(linear_rows(x.narrow(0, 8 - count, count).contiguous(), weight),
                          together.narrow(0, 8 - count, count)))
        << count;
  }
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Types, LinearRows,
                         testing::Combine(testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Values(Isa::plain, Isa::avx512, Isa::avx512_bf16)));

}  // namespace
}  // namespace chorus
