#include "kernels/internal/blocked_product.h"

#include <array>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"

namespace chorus {
namespace {

struct Shape {
  int64_t m, n, depth;
};

// Around the sizes of tiles (6 x 16, 12 x 32), of packed blocks and of the depth taken at once.
constexpr std::array kShapes = {Shape{1, 1, 1},      Shape{2, 16, 8},     Shape{5, 31, 33},
                                Shape{6, 32, 256},   Shape{7, 33, 255},   Shape{12, 64, 257},
                                Shape{13, 65, 100},  Shape{25, 256, 512}, Shape{240, 48, 40},
                                Shape{241, 257, 17}, Shape{300, 130, 600}};

/// Sums of `m` rows and `n` columns of a b, whose rows are whole or whose columns are.
template <class T>
at::Tensor product(const at::Tensor& a, const at::Tensor& b, bool rows_of_a, bool rows_of_b, Store store) {
  const at::Tensor left = rows_of_a ? a.contiguous() : a.t().contiguous();
  const at::Tensor right = rows_of_b ? b.contiguous() : b.t().contiguous();
  const int64_t m = a.size(0), n = b.size(1);
  const auto strided = [](const at::Tensor& x, bool rows) -> Strided<T> {
    return {x.const_data_ptr<T>(), rows ? x.stride(0) : 1, rows ? 1 : x.stride(0)};
  };
  const int64_t stride = (n + 15) / 16 * 16;  // so that it can be streamed
  at::Tensor out = at::full({m, stride}, store == Store::add ? 0.5 : std::nan(""), at::kFloat);
  blocked_product<T>({m, n, a.size(1), strided(left, rows_of_a), strided(right, rows_of_b),
                      out.mutable_data_ptr<float>(), stride, store});
  return out.narrow(1, 0, n);
}

/// For every instruction set of this machine: right, and with the bits of the plain one.
template <class T>
class BlockedProductTest : public testing::Test {
 protected:
  ~BlockedProductTest() override { limit_isa(Isa::avx512_bf16); }
};
using Types = testing::Types<float, c10::BFloat16>;
TYPED_TEST_SUITE(BlockedProductTest, Types);

TYPED_TEST(BlockedProductTest, HasTheSameBitsWithEveryInstructionSet) {
  for (const Shape s : kShapes) {
    const auto type = c10::CppTypeToScalarType<TypeParam>::value;
    const auto a = at::randn({s.m, s.depth}).to(type), b = at::randn({s.depth, s.n}).to(type);
    const at::Tensor exact = a.to(at::kDouble).mm(b.to(at::kDouble));
    for (const Store store : {Store::overwrite, Store::add, Store::stream}) {
      for (const int form : {0, 1, 2, 3}) {
        limit_isa(Isa::plain);
        const auto plain = product<TypeParam>(a, b, form & 1, form & 2, store);
        const at::Tensor error = plain.to(at::kDouble) - exact - (store == Store::add ? 0.5 : 0.0);
        EXPECT_LT(error.abs().max().item<double>(), 1e-3) << s.m << " " << s.n << " " << s.depth;
        for (const Isa isa : {Isa::avx512, Isa::avx512_bf16}) {
          limit_isa(isa);
          EXPECT_TRUE(at::equal(product<TypeParam>(a, b, form & 1, form & 2, store), plain))
              << s.m << " " << s.n << " " << s.depth << " form " << form;
        }
      }
    }
  }
}

TYPED_TEST(BlockedProductTest, HasTheSameBitsHoweverItIsCut) {
  const auto type = c10::CppTypeToScalarType<TypeParam>::value;
  const auto a = at::randn({250, 300}).to(type), b = at::randn({300, 290}).to(type);
  for (const Isa isa : {Isa::plain, Isa::avx512, Isa::avx512_bf16}) {
    limit_isa(isa);
    const at::Tensor whole = product<TypeParam>(a, b, true, false, Store::overwrite);
    const at::Tensor part =
        product<TypeParam>(a.narrow(0, 243, 5), b.narrow(1, 37, 70), true, false, Store::overwrite);
    EXPECT_TRUE(at::equal(part, whole.narrow(0, 243, 5).narrow(1, 37, 70)));
  }
}

}  // namespace
}  // namespace chorus
