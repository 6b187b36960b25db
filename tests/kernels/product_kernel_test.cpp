#include "kernels/internal/product_kernel.h"

#include <array>
#include <bit>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"

namespace chorus {
namespace {

constexpr std::array kIsas = {Isa::plain, Isa::avx512, Isa::avx512_bf16};

struct Shape {
  int64_t m, n, depth;
};

// Around the sizes of tiles (24 rows; 8, 16 .. 64 columns), of what is taken at once (256) and of chains (256, 512).
constexpr std::array kShapes = {
    Shape{1, 1, 1},      Shape{2, 16, 8},    Shape{24, 8, 16},     Shape{5, 31, 33},    Shape{48, 32, 256},
    Shape{7, 33, 255},   Shape{12, 64, 257}, Shape{13, 65, 100},   Shape{25, 256, 512}, Shape{240, 48, 40},
    Shape{241, 257, 17}, Shape{72, 7, 1},    Shape{300, 130, 600}, Shape{30, 9, 40'001}};

/// Where the rows of an operand lie.
enum class Lies { along, across };

template <class T>
Strided<T> strided(const at::Tensor& x, Lies rows) {
  return {x.const_data_ptr<T>(), rows == Lies::along ? x.stride(0) : 1,
          rows == Lies::along ? 1 : x.stride(0)};
}

at::Tensor laid(const at::Tensor& x, Lies rows) {
  return rows == Lies::along ? x.contiguous() : x.t().contiguous();
}

/// left right^T, or its transpose, by rows of an output that is wider than they.
template <class T>
at::Tensor by_left(const at::Tensor& left, const at::Tensor& right, Lies l, Lies r, Store store) {
  const int64_t m = left.size(0), n = right.size(0),
                stride = (n + 15) / 16 * 16;  // so that it can be streamed
  const at::Tensor a = laid(left, l), b = laid(right, r);
  at::Tensor out = at::full({m, stride}, store == Store::add ? 0.5 : std::nan(""), at::kFloat);
  product_by_left<T>({m, n, left.size(1), strided<T>(a, l), strided<T>(b, r)}, out.mutable_data_ptr<float>(),
                     stride, store);
  return out.narrow(1, 0, n).contiguous();
}

template <class T, class Out = float>
at::Tensor by_right(const at::Tensor& left, const at::Tensor& right, Lies l, Lies r,
                    const Epilogue& epilogue = {}) {
  const int64_t m = left.size(0), n = right.size(0);
  const at::Tensor a = laid(left, l), b = laid(right, r);
  at::Tensor out = at::full({n, m + 3}, std::nan(""), c10::CppTypeToScalarType<Out>::value);
  product_by_right<T, T>({m, n, left.size(1), strided<T>(a, l), strided<T>(b, r)},
                         out.mutable_data_ptr<Out>(), m + 3, epilogue);
  EXPECT_TRUE(out.narrow(1, m, 3).isnan().all().item<bool>());
  return out.narrow(1, 0, m).contiguous();
}

/// The chains that the header promises, of numbers as they are.
template <class T>
at::Tensor chains(const at::Tensor& left, const at::Tensor& right) {
  const int64_t m = left.size(0), n = right.size(0), depth = left.size(1);
  const at::Tensor a = left.to(at::kFloat).contiguous(), b = right.to(at::kFloat).contiguous();
  at::Tensor out = at::full({m, n}, 0.0, at::kFloat);
  const auto* const x = a.const_data_ptr<float>();
  const auto* const y = b.const_data_ptr<float>();
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      float sum = 0;
      for (int64_t first = 0; first < depth; first += 256) {
        float chain = 0;
        for (int64_t k = first; k < std::min(depth, first + 256); ++k)
          chain = std::fma(x[i * depth + k], y[j * depth + k], chain);
        sum = first == 0 ? chain : sum + chain;
      }
      out.mutable_data_ptr<float>()[i * n + j] = sum;
    }
  }
  return out;
}

template <class T>
class ProductKernel : public testing::Test {
 protected:
  ~ProductKernel() override { limit_isa(Isa::avx512_bf16); }
  static constexpr at::ScalarType kType = c10::CppTypeToScalarType<T>::value;
  static at::Tensor random(int64_t rows, int64_t columns) { return at::randn({rows, columns}).to(kType); }
};
using Types = testing::Types<float, c10::BFloat16>;
TYPED_TEST_SUITE(ProductKernel, Types);

TYPED_TEST(ProductKernel, HasTheBitsOfItsChainsWithEveryInstructionSet) {
  for (const Shape s : kShapes) {
    const auto a = this->random(s.m, s.depth), b = this->random(s.n, s.depth);
    const at::Tensor expected = chains<TypeParam>(a, b), exact = a.to(at::kDouble).mm(b.to(at::kDouble).t());
    for (const Isa isa : kIsas) {
      limit_isa(isa);
      const bool pairs = cpu_isa() == Isa::avx512_bf16 && TestFixture::kType == at::kBFloat16;
      for (const int form : {0, 1, 2, 3}) {
        SCOPED_TRACE(testing::Message() << s.m << " x " << s.n << " x " << s.depth << ", form " << form
                                        << ", set " << static_cast<int>(isa));
        const Lies l = form & 1 ? Lies::along : Lies::across, r = form & 2 ? Lies::along : Lies::across;
        const at::Tensor right = by_right<TypeParam>(a, b, l, r).t().contiguous();
        for (const Store store : {Store::overwrite, Store::stream}) {
          EXPECT_TRUE(at::equal(by_left<TypeParam>(a, b, l, r, store), right));
        }
        if (pairs) {
          const double bound = 1e-6 * std::sqrt(static_cast<double>(s.depth)) * 4 + 1e-6;
          EXPECT_LT((right.to(at::kDouble) - exact).abs().max().item<double>(), bound * 16);
        } else {
          EXPECT_TRUE(at::equal(right, expected));
        }
        const at::Tensor added = by_left<TypeParam>(a, b, l, r, Store::add).to(at::kDouble) - 0.5;
        EXPECT_LT((added - exact).abs().max().item<double>(), 1e-2);
      }
    }
  }
}

TYPED_TEST(ProductKernel, HasTheSameBitsHoweverItIsCut) {
  const auto weight = this->random(290, 700), x = this->random(600, 700);
  for (const Isa isa : kIsas) {
    limit_isa(isa);
    const at::Tensor whole = by_right<TypeParam>(weight, x, Lies::along, Lies::along);
    for (const int64_t rows : {1, 2, 5, 8, 9, 16, 17, 33, 64, 100, 257}) {
      const at::Tensor part =
          by_right<TypeParam>(weight.narrow(0, 37, 70), x.narrow(0, 243, rows), Lies::along, Lies::along);
      EXPECT_TRUE(at::equal(part, whole.narrow(0, 243, rows).narrow(1, 37, 70))) << rows;
    }
  }
}

TYPED_TEST(ProductKernel, AddsBiasThenReluThenResidual) {
  const auto weight = this->random(50, 40), x = this->random(19, 40);
  const at::Tensor bias = at::randn({50}), residual = at::randn({19, 60});
  for (const Isa isa : kIsas) {
    limit_isa(isa);
    const at::Tensor plain = by_right<TypeParam>(weight, x, Lies::along, Lies::along) + bias;
    EXPECT_GT((plain < 0).sum().item<int64_t>(), 0);
    const Epilogue all = {.bias = bias.const_data_ptr<float>(),
                          .relu = true,
                          .residual = residual.const_data_ptr<float>(),
                          .residual_stride = 60};
    EXPECT_TRUE(at::equal(by_right<TypeParam>(weight, x, Lies::along, Lies::along, all),
                          plain.relu() + residual.narrow(1, 0, 50)));
  }
}

TYPED_TEST(ProductKernel, WithoutDepthIsZero) {
  const auto a = this->random(30, 0), b = this->random(9, 0);
  for (const Isa isa : kIsas) {
    limit_isa(isa);
    EXPECT_TRUE(at::equal(by_right<TypeParam>(a, b, Lies::along, Lies::along), at::full({9, 30}, 0.0)));
    EXPECT_TRUE(
        at::equal(by_left<TypeParam>(a, b, Lies::along, Lies::along, Store::stream), at::full({30, 9}, 0.0)));
    EXPECT_TRUE(
        at::equal(by_left<TypeParam>(a, b, Lies::along, Lies::along, Store::add), at::full({30, 9}, 0.5)));
  }
}

/// What is not finite stays in its row.
TYPED_TEST(ProductKernel, KeepsWhatIsNotFinite) {
  const auto weight = this->random(30, 64);
  auto x = this->random(10, 64);
  x[3][7] = std::nan("");
  for (const Isa isa : kIsas) {
    limit_isa(isa);
    const at::Tensor out = by_right<TypeParam>(weight, x, Lies::along, Lies::along);
    EXPECT_TRUE(out[3].isnan().all().item<bool>());
    EXPECT_EQ(out.isnan().sum().item<int64_t>(), 30);
  }
}

}  // namespace
}  // namespace chorus
