#include "kernels/gemm.h"

#include <array>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"

namespace chorus {
namespace {

double error(const at::Tensor& ours, const at::Tensor& exact) {
  return ((ours.to(at::kDouble) - exact).norm() / (exact.norm() + 1e-30)).item<double>();
}

struct GemmShape {
  int64_t n, rows, columns;
};

/// Every instruction set of this machine, and every type: the sums are never rounded to bf16.
class Product : public testing::TestWithParam<std::tuple<Isa, at::ScalarType>> {
 protected:
  Product() { limit_isa(std::get<0>(GetParam())); }
  ~Product() override { limit_isa(Isa::avx512_bf16); }
  static at::ScalarType type() { return std::get<1>(GetParam()); }
  static at::ScalarType wide() { return type() == at::kDouble ? at::kDouble : at::kFloat; }
};

TEST_P(Product, OverwritesAndAdds) {
  for (const GemmShape s :
       {GemmShape{0, 5, 3}, GemmShape{1, 1, 1}, GemmShape{2, 64, 64}, GemmShape{31, 63, 65},
        GemmShape{33, 130, 7}, GemmShape{500, 200, 96}, GemmShape{1100, 70, 66}, GemmShape{2049, 8, 129}}) {
    const auto a = at::randn({s.n, s.rows}).to(type()), b = at::randn({s.n, s.columns}).to(type());
    const auto exact = a.to(at::kDouble).t().mm(b.to(at::kDouble));
    at::Tensor target = at::full({s.rows, s.columns}, std::nan(""), wide());
    add_product(target, a, b, true);
    EXPECT_LT(error(target, exact), 1e-5) << s.n << " " << s.rows << " " << s.columns;
    add_product(target, a, b, false);
    EXPECT_LT(error(target, exact * 2), 1e-5) << s.n << " " << s.rows << " " << s.columns;
  }
}

TEST_P(Product, TakesStridedOperandsAndSlices) {
  const auto a = at::randn({90, 2 * 33}).to(type()).narrow(1, 33, 33), b = at::randn({20, 90}).to(type()).t();
  at::Tensor target = at::full({3, 33, 20}, 1.0, wide());
  add_product(target[1], a, b, true);
  EXPECT_LT(error(target[1], a.to(at::kDouble).t().mm(b.to(at::kDouble))), 1e-5);
  EXPECT_TRUE(at::equal(target[0], at::full({33, 20}, 1.0, wide())));
  EXPECT_TRUE(at::equal(target[2], at::full({33, 20}, 1.0, wide())));
}

TEST_P(Product, DoesNotDependOnThreads) {
  const auto a = at::randn({300, 400}).to(type()), b = at::randn({300, 200}).to(type());
  at::Tensor first = at::full({400, 200}, 0.5, wide()), second = first.clone();
  const int threads = at::get_num_threads();
  add_product(first, a, b, false);
  at::set_num_threads(1);
  add_product(second, a, b, false);
  at::set_num_threads(threads);
  if (type() == at::kDouble) {
    EXPECT_LT(error(first, second), 1e-12);  // libtorch's products promise no more
  } else {
    EXPECT_TRUE(at::equal(first, second));
  }
}

TEST_P(Product, IsWide) {
  for (const GemmShape s : {GemmShape{0, 5, 4}, GemmShape{1, 1, 1}, GemmShape{1, 1, 2}, GemmShape{63, 65, 30},
                            GemmShape{64, 64, 64}, GemmShape{130, 1000, 66}, GemmShape{7, 200, 512}}) {
    const auto input = at::randn({s.n, s.columns}).to(type()),
               weight = at::randn({s.rows, s.columns}).to(type());
    at::Tensor out = at::full({s.n, s.rows}, std::nan(""), wide());
    linear_product(out, input, weight);
    EXPECT_LT(error(out, input.to(at::kDouble).mm(weight.to(at::kDouble).t())), 1e-5)
        << s.n << " " << s.rows << " " << s.columns;
  }
}

/// Rounded once, to the type of the operands.
double tolerance(at::ScalarType type) {
  return type == at::kBFloat16 ? 4e-3 : 1e-6;
}

constexpr std::array kLayers = {GemmShape{0, 5, 4},      GemmShape{1, 1, 1},    GemmShape{2, 17, 1},
                                GemmShape{7, 16, 300},   GemmShape{63, 65, 8},  GemmShape{241, 33, 9},
                                GemmShape{500, 257, 66}, GemmShape{6, 200, 513}};

TEST_P(Product, OfALinearLayer) {
  for (const GemmShape s : kLayers) {
    const auto input = at::randn({s.n, s.columns}).to(type()),
               weight = at::randn({s.rows, s.columns}).to(type()), bias = at::randn({s.rows}).to(type());
    const auto exact = input.to(at::kDouble).mm(weight.to(at::kDouble).t());
    at::Tensor out = at::full({s.n, s.rows}, std::nan(""), type());
    linear_product(out, input, weight, {});
    EXPECT_LE(error(out, exact), tolerance(type())) << s.n << " " << s.rows << " " << s.columns;
    linear_product(out, input, weight, {.bias = bias});
    EXPECT_LE(error(out, exact + bias.to(at::kDouble)), tolerance(type()));
  }
}

/// A quarter of an expert's few rows may be none.
TEST_P(Product, WithoutOutputsDoesNothing) {
  const auto rows = at::randn({9, 5}).to(type()), none = at::randn({9, 0}).to(type());
  at::Tensor target = at::full({0, 5}, 1.0, wide());
  add_product(target, none, rows, false);
  at::Tensor out = at::full({9, 0}, 1.0, type());
  linear_product(out, rows, at::randn({0, 5}).to(type()));
  plain_product(out, rows, at::randn({5, 0}).to(type()));
  EXPECT_EQ(target.numel() + out.numel(), 0);
}

TEST_P(Product, OfALinearLayersGradient) {
  for (const GemmShape s : kLayers) {
    const auto grad = at::randn({s.n, s.rows}).to(type()), weight = at::randn({s.rows, s.columns}).to(type());
    at::Tensor out = at::full({s.n, s.columns}, std::nan(""), type());
    plain_product(out, grad, weight);
    EXPECT_LE(error(out, grad.to(at::kDouble).mm(weight.to(at::kDouble))), tolerance(type()))
        << s.n << " " << s.rows << " " << s.columns;
  }
}

TEST_P(Product, TakesStridedInputs) {
  const auto wide = at::randn({90, 100}).to(type());
  const auto input = wide.narrow(1, 40, 33), weight = at::randn({33, 20}).to(type()).t();
  at::Tensor out = at::empty({90, 20}, type()), back = at::empty({90, 33}, type());
  linear_product(out, input, weight, {});
  EXPECT_LE(error(out, input.to(at::kDouble).mm(weight.to(at::kDouble).t())), tolerance(type()));
  plain_product(back, wide.narrow(1, 7, 20), weight);
  EXPECT_LE(error(back, wide.narrow(1, 7, 20).to(at::kDouble).mm(weight.to(at::kDouble))), tolerance(type()));
}

TEST_P(Product, HasTheSameBitsHoweverItIsCut) {
  if (type() == at::kDouble) GTEST_SKIP() << "libtorch's product";
  const auto input = at::randn({120, 300}).to(type()), weight = at::randn({270, 300}).to(type());
  const auto grad = at::randn({120, 270}).to(type());
  const auto all = [&] {
    std::vector<at::Tensor> out = {at::empty({120, 270}, type()), at::empty({120, 300}, type()),
                                   at::empty({270, 300}, wide())};
    linear_product(out[0], input, weight, {});
    plain_product(out[1], grad, weight);
    add_product(out[2], grad, input, true);
    return out;
  };
  const auto several = all();
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = all();
  at::set_num_threads(threads);
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_TRUE(at::equal(one[i], several[i])) << i;
  }
  at::Tensor last = at::empty({5, 270}, type());
  linear_product(last, input.narrow(0, 115, 5), weight, {});
  EXPECT_TRUE(at::equal(last, one[0].narrow(0, 115, 5)));
}

TEST_P(Product, OfALinearLayerWithAllThatFollows) {
  const auto input = at::randn({7, 40}).to(type()), weight = at::randn({50, 1, 40}).to(type());
  const auto bias = at::randn({5, 10}).to(type()), residual = at::randn({7, 50}).to(wide());
  at::Tensor out = at::empty({7, 50}, wide());
  linear_product(out, input, weight, {.bias = bias, .relu = true, .residual = residual});
  const auto product =
      input.to(at::kDouble).mm(weight.view({50, 40}).to(at::kDouble).t()) + bias.view(-1).to(at::kDouble);
  EXPECT_LT(error(out, product.relu() + residual.to(at::kDouble)), 1e-5);
}

/// As decoding has it: activations in fp32, whatever the weights are.
TEST_P(Product, OfWideRowsAndAWeight) {
  const auto input = at::randn({9, 300}, wide()), weight = at::randn({70, 300}).to(type());
  const auto exact = input.to(at::kDouble).mm(weight.to(at::kDouble).t());
  const at::Tensor out = linear_product(input, weight);
  EXPECT_EQ(out.scalar_type(), wide());
  const bool rounds = type() == at::kBFloat16 && cpu_isa() == Isa::avx512_bf16;
  EXPECT_LT(error(out, exact), rounds ? 4e-3 : 1e-6);
  for (const int64_t rows : {1, 3, 8}) {
    const at::Tensor part = linear_product(input.narrow(0, 9 - rows, rows), weight);
    EXPECT_TRUE(type() == at::kDouble || at::equal(part, out.narrow(0, 9 - rows, rows)));
  }
}

TEST_P(Product, OfALinearLayerIntoColumns) {
  for (const int64_t rows : {1, 9, 50}) {
    const auto input = at::randn({rows, 300}, wide()), weight = at::randn({70, 300}).to(type());
    const at::Tensor wider = at::full({rows, 101}, 7, wide()), columns = wider.narrow(1, 30, 70);
    linear_product(columns, input, weight);
    EXPECT_TRUE(at::equal(columns, linear_product(input, weight)));
    EXPECT_TRUE(wider.narrow(1, 0, 30).eq(7).all().item<bool>() &&
                wider.select(1, 100).eq(7).all().item<bool>());
  }
}

TEST_P(Product, OfRowsOfAWeightHasTheBitsOfTheWhole) {
  if (type() == at::kDouble) GTEST_SKIP() << "libtorch's product";
  const auto weight = at::randn({70, 300}).to(type()), ids = at::tensor({69, 3, 3, 0, 41}, at::kLong);
  for (const int64_t rows : {1, 9}) {
    const auto input = at::randn({rows, 300}, wide());
    EXPECT_TRUE(at::equal(linear_product(input, take_rows(weight, ids)),
                          linear_product(input, weight).index_select(1, ids)));
  }
}

INSTANTIATE_TEST_SUITE_P(All, Product,
                         testing::Combine(testing::Values(Isa::plain, Isa::avx512, Isa::avx512_bf16),
                                          testing::Values(at::kBFloat16, at::kFloat, at::kDouble)));

}  // namespace
}  // namespace chorus
