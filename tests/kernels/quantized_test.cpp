#include "kernels/quantized.h"

#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cpu.h"
#include "kernels/gemm.h"

namespace chorus {
namespace {

double relative_error(const at::Tensor& ours, const at::Tensor& exact) {
  return ((ours.to(at::kDouble) - exact.to(at::kDouble)).norm() / (exact.to(at::kDouble).norm() + 1e-30))
      .item<double>();
}

Matrix quantized(const at::Tensor& weight, Quantization type) {
  return {quantize(weight, type), type, weight.size(0), weight.size(1)};
}

/// What the header says of a product, element by element, in fp64 but for what is fp32 there.
at::Tensor reference(const at::Tensor& input, const Matrix& weight) {
  const at::Tensor w = dequantize(weight).to(at::kDouble);
  at::Tensor x = input.to(at::kFloat).clone();
  for (int64_t n = 0; n < x.size(0); ++n) {
    for (int64_t first = 0; first < x.size(1); first += kQuantizedGroup) {
      const at::Tensor group = x[n].narrow(0, first, std::min(kQuantizedGroup, x.size(1) - first));
      const auto most = group.abs().max().item<float>();
      if (most > 0) group.copy_((group * (127 / most)).round() * (most / 127));
    }
  }
  return x.to(at::kDouble).mm(w.t());
}

struct Sizes {
  int64_t n, m, k;
};

class Quantized : public testing::TestWithParam<std::tuple<Isa, Quantization>> {
 protected:
  Quantized() { limit_isa(std::get<0>(GetParam())); }
  ~Quantized() override { limit_isa(Isa::avx512_bf16); }
  static Quantization type() { return std::get<1>(GetParam()); }
};

TEST_P(Quantized, ProductIsWhatTheFormulaSays) {
  for (const Sizes s : {Sizes{1, 1, 1}, Sizes{1, 16, 64}, Sizes{2, 17, 63}, Sizes{3, 15, 65},
                        Sizes{5, 100, 130}, Sizes{31, 33, 512}, Sizes{100, 8, 200}, Sizes{600, 70, 96}}) {
    const at::Tensor x = at::randn({s.n, s.k}), w = at::randn({s.m, s.k});
    const Matrix weight = quantized(w, type());
    const at::Tensor out = at::full({s.n, s.m}, std::nan(""));
    linear_product(out, x, weight);
    EXPECT_LT(relative_error(out, reference(x, weight)), 2e-6) << s.n << " " << s.m << " " << s.k;
    EXPECT_LT(relative_error(out, x.mm(w.t())), type() == Quantization::int8 ? 0.02 : 0.2);
  }
}

TEST_P(Quantized, ProductDoesWhatFollows) {
  const at::Tensor x = at::randn({7, 80}), bias = at::randn({50}), residual = at::randn({7, 50});
  const Matrix weight = quantized(at::randn({50, 80}), type());
  const at::Tensor out = linear_product(x, weight, {.bias = bias, .relu = true, .residual = residual});
  EXPECT_TRUE(at::equal(out, (linear_product(x, weight) + bias).relu() + residual));
}

TEST_P(Quantized, SumsAreExactAtTheirLargest) {
  const int64_t depth = 8192;
  const at::Tensor w = at::full({16, depth}, -1.0), x = at::full({5, depth}, 2.0);
  const Matrix weight = quantized(w, type());
  const at::Tensor exact = reference(x, weight);
  EXPECT_LT(relative_error(linear_product(x, weight), exact), 1e-5);
  EXPECT_LT(relative_error(linear_product(-x, weight), -exact), 1e-5);
}

TEST_P(Quantized, RowsDoNotDependOnEachOtherNorOnThreads) {
  const at::Tensor x = at::randn({29, 300});
  const Matrix weight = quantized(at::randn({210, 300}), type());
  const at::Tensor all = linear_product(x, weight);
  for (int64_t count = 1; count <= 13; ++count) {
    EXPECT_TRUE(
        at::equal(linear_product(x.narrow(0, 29 - count, count), weight), all.narrow(0, 29 - count, count)))
        << count;
  }
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(linear_product(x, weight), all));
  at::set_num_threads(2);
}

TEST_P(Quantized, EveryInstructionSetGivesTheSameBits) {
  const at::Tensor x = at::randn({23, 200}), w = at::randn({40, 200});
  const Matrix weight = quantized(w, type());
  const at::Tensor here = linear_product(x, weight);
  limit_isa(Isa::plain);
  EXPECT_TRUE(at::equal(linear_product(x, weight), here));
  EXPECT_TRUE(at::equal(quantize(w, type()), weight.values));
}

TEST_P(Quantized, TakesBf16) {
  const at::Tensor x = at::randn({9, 100}).to(at::kBFloat16);
  const Matrix weight = quantized(at::randn({20, 100}), type());
  const at::Tensor wide = linear_product(x.to(at::kFloat), weight), out = at::empty({9, 20});
  linear_product(out, x, weight);
  EXPECT_TRUE(at::equal(out, wide));
  EXPECT_TRUE(at::equal(linear_product(x, weight), wide.to(at::kBFloat16)));
}

TEST_P(Quantized, WhatIsNotANumberStaysSo) {
  at::Tensor x = at::randn({3, 100});
  x[1][70] = std::nan("");
  x[2][5] = std::numeric_limits<float>::infinity();
  const at::Tensor out = linear_product(x, quantized(at::randn({20, 100}), type()));
  EXPECT_TRUE(out[0].isfinite().all().item<bool>());
  EXPECT_FALSE(out[1].isfinite().any().item<bool>());
  EXPECT_FALSE(out[2].isfinite().any().item<bool>());
}

TEST_P(Quantized, TinyAndZeroWeightsAndRows) {
  at::Tensor w = at::zeros({4, 70});
  w[1].fill_(1e-40);
  w[2].fill_(1e30);
  const Matrix weight = quantized(w, type());
  EXPECT_TRUE(has_finite_scales(weight));
  const at::Tensor back = dequantize(weight);
  EXPECT_EQ(back[1].abs().max().item<float>(), 0);
  EXPECT_NEAR(back[2][69].item<float>() / 1e30, 1, 0.01);
  at::Tensor x = at::zeros({2, 70});
  x[1].fill_(1e-42);
  EXPECT_TRUE(at::equal(linear_product(x, weight), at::zeros({2, 4})));
}

TEST_P(Quantized, SelectsRows) {
  const Matrix weight = quantized(at::randn({37, 90}), type());
  const at::Tensor all = dequantize(weight), ids = at::tensor({36, 0, 16, 16}, at::kLong);
  EXPECT_TRUE(at::equal(select_rows(weight, ids), all.index_select(0, ids)));
}

TEST_P(Quantized, TakenRowsGiveTheBitsOfTheWhole) {
  const Matrix weight = quantized(at::randn({37, 90}), type());
  const at::Tensor x = at::randn({5, 90}), all = linear_product(x, weight);
  for (const at::Tensor& ids : {at::tensor({36}, at::kLong), at::tensor({36, 0, 16, 16, 5}, at::kLong),
                                at::arange(36, -1, -1, at::kLong), at::empty({0}, at::kLong)}) {
    const Matrix some = take_rows(weight, ids);
    EXPECT_EQ(some.quantization, type());
    EXPECT_TRUE(at::equal(dequantize(some), select_rows(weight, ids)));
    if (ids.numel() > 0) {
      EXPECT_TRUE(at::equal(linear_product(x, some), all.index_select(1, ids)));
    }
  }
}

TEST_P(Quantized, StacksAreOneWeight) {
  const at::Tensor a = at::randn({32, 90}), b = at::randn({32, 90}), x = at::randn({3, 90});
  const Matrix both = {at::cat({quantize(a, type()), quantize(b, type())}), type(), 64, 90};
  EXPECT_TRUE(at::equal(linear_product(x, both), linear_product(x, quantized(at::cat({a, b}), type()))));
}

TEST_P(Quantized, RefusesWhatIsNotFiniteAndWhatHasNotItsShape) {
  at::Tensor w = at::randn({4, 70});
  const at::Tensor blocks = quantize(w, type());
  EXPECT_THROW(Matrix(blocks, type(), 17, 70), Error);
  EXPECT_THROW(Matrix(blocks, type(), 4, 129), Error);
  w[3][69] = std::nan("");
  EXPECT_THROW(quantize(w, type()), Error);
  blocks[0][1] = 0x7F;  // the high byte of a scale, and then the low one
  blocks[0][0] = 0x80;
  EXPECT_FALSE(has_finite_scales(Matrix(blocks, type(), 4, 70)));
}

INSTANTIATE_TEST_SUITE_P(All, Quantized,
                         testing::Combine(testing::Values(Isa::plain, Isa::avx512, Isa::avx512_vnni),
                                          testing::Values(Quantization::int8, Quantization::int4)));

TEST(Quantize, Int8IsWithinHalfAStep) {
  const at::Tensor w = at::randn({33, 128});
  const at::Tensor off = (dequantize(quantized(w, Quantization::int8)) - w).view({33, 2, 64});
  const at::Tensor step = w.view({33, 2, 64}).abs().amax(2) / 127;
  EXPECT_TRUE((off.abs().amax(2) <= step * 0.5 * 1.05 + step * 0.3).all().item<bool>());
}

TEST(Quantize, Int4ChoosesBetterScalesThanTheLargestElement) {
  const at::Tensor w = at::randn({64, 256});
  const at::Tensor step = w.view({64, 4, 64}).abs().amax(2, true) / 7;
  const at::Tensor plain = ((w.view({64, 4, 64}) / step).round() * step).view({64, 256});
  EXPECT_LT(relative_error(dequantize(quantized(w, Quantization::int4)), w), 0.9 * relative_error(plain, w));
}

TEST(Quantize, WhatCountsMoreIsCloser) {
  const at::Tensor w = at::randn({64, 256});
  at::Tensor importance = at::full({256}, 1e-3);
  importance.narrow(0, 0, 8).fill_(1);
  const auto error = [&](const at::Tensor& blocks) {
    return relative_error(dequantize({blocks, Quantization::int4, 64, 256}).narrow(1, 0, 8),
                          w.narrow(1, 0, 8));
  };
  EXPECT_LT(error(quantize(w, Quantization::int4, importance)), 0.8 * error(quantize(w, Quantization::int4)));
}

}  // namespace
}  // namespace chorus
