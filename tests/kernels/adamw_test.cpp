#include "kernels/adamw.h"

#include <ATen/Parallel.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cpu.h"

#include "kernels/internal/backend.h"

namespace chorus {
namespace {

AdamWTensor random_tensor(int64_t size, bool bf16) {
  AdamWTensor t;
  t.value = at::randn({size});
  if (bf16) {
    t.master = t.value;
    t.value = t.master.to(at::kBFloat16);
  }
  t.gradient = at::randn({size});
  t.m = at::randn({size}).mul_(0.1);
  t.v = at::rand({size});
  return t;
}

AdamWTensor copy_of(const AdamWTensor& t, at::ScalarType type = at::kFloat) {
  const auto copy = [&](const at::Tensor& x) { return x.defined() ? x.to(type, false, true) : x; };
  return {t.master.defined() ? t.value.clone() : copy(t.value),
          copy(t.master),
          copy(t.gradient),
          copy(t.m),
          copy(t.v),
          t.decay};
}

const AdamWStep kStep = {.learning_rate = 1e-2,
                         .beta1 = 0.9,
                         .beta2 = 0.98,
                         .epsilon = 1e-8,
                         .weight_decay = 0.1,
                         .step = 3,
                         .gradient_scale = 0.25};

class AdamW : public testing::TestWithParam<bool> {
 protected:
  ~AdamW() override { limit_isa(Isa::avx512_bf16); }
};

TEST_P(AdamW, MatchesTheFormulaInDouble) {
  for (const int64_t size : {0, 1, 15, 16, 17, 1000, 100'003}) {
    for (const bool decay : {true, false}) {
      AdamWTensor t = random_tensor(size, GetParam());
      t.decay = decay;
      AdamWTensor exact = copy_of(t, at::kDouble);
      adamw_step(t, kStep);
      composed_backend().adamw_step({&exact, 1}, kStep);
      const auto close = [](const at::Tensor& a, const at::Tensor& b) {
        return at::allclose(a.to(at::kDouble), b, 1e-6, 1e-7);
      };
      EXPECT_TRUE(close(t.m, exact.m));
      EXPECT_TRUE(close(t.v, exact.v));
      if (GetParam()) {
        EXPECT_TRUE(close(t.master, exact.master));
        EXPECT_TRUE(at::equal(t.value, t.master.to(at::kBFloat16))) << "rounded to nearest even";
      } else {
        EXPECT_TRUE(close(t.value, exact.value));
      }
    }
  }
}

TEST_P(AdamW, GivesTheSameBitsOnEveryInstructionSetAndThreadCount) {
  AdamWTensor best = random_tensor(200'003, GetParam()), plain = copy_of(best);
  const int threads = at::get_num_threads();
  adamw_step(best, kStep);
  limit_isa(Isa::plain);
  at::set_num_threads(1);
  adamw_step(plain, kStep);
  at::set_num_threads(threads);
  EXPECT_TRUE(at::equal(best.value, plain.value));
  EXPECT_TRUE(at::equal(best.m, plain.m));
  EXPECT_TRUE(at::equal(best.v, plain.v));
}

TEST_P(AdamW, ReportsNonFiniteGradientsAsSuch) {
  AdamWTensor t = random_tensor(20, GetParam());
  t.gradient[7] = std::nan("");
  adamw_step(t, kStep);
  EXPECT_TRUE(t.value[7].isnan().item<bool>());
  EXPECT_EQ(t.value.isnan().sum().item<int64_t>(), 1);
}

TEST_P(AdamW, CatchesUpToTheSameBitsAsStepByStepWithZeros) {
  for (const Isa isa : {Isa::plain, Isa::avx512_bf16}) {
    limit_isa(isa);
    for (const int64_t size : {0, 1, 31, 32, 33, 100'003}) {
      for (const size_t missed : {0, 1, 7}) {
        AdamWTensor dense = random_tensor(size, GetParam());
        dense.m.slice(0, 0, std::nullopt, 3).zero_();
        dense.m.slice(0, 1, std::nullopt, 3).fill_(-1e-45);  // whose tenths are -0
        dense.v.slice(0, 0, std::nullopt, 5).zero_();
        AdamWTensor late = copy_of(dense);
        late.gradient.reset();
        dense.gradient.zero_();
        std::vector<AdamWStep> steps(missed, kStep);
        for (size_t i = 0; i < missed; ++i) {
          steps[i].learning_rate /= static_cast<double>(1 + i);
          steps[i].step += static_cast<int64_t>(i);
          steps[i].gradient_scale = 1 / static_cast<double>(1 + i);
          adamw_step(dense, steps[i]);
        }
        adamw_catch_up(late, steps);
        for (const auto tensor : {&AdamWTensor::value, &AdamWTensor::m, &AdamWTensor::v}) {
          const at::Tensor a = dense.*tensor, b = late.*tensor;
          EXPECT_TRUE(size == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0)
              << size << ' ' << missed;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Bf16Copy, AdamW, testing::Bool());

TEST(AdamWReference, IsTorchsOwn) {
  AdamWTensor t = random_tensor(1003, false), torchs = copy_of(t);
  for (int64_t step = 1; step <= 5; ++step) {
    adamw_step(t, {.learning_rate = 1e-2, .weight_decay = 0.1, .step = step});
    at::_fused_adamw_({torchs.value}, {torchs.gradient}, {torchs.m}, {torchs.v}, {},
                      {at::full({}, static_cast<double>(step))}, 1e-2, 0.9, 0.98, 0.1, 1e-8, false, false);
  }
  EXPECT_TRUE(at::allclose(t.value, torchs.value, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(t.v, torchs.v, 1e-5, 1e-7));
}

TEST(AdamWReference, MovesAtFirstByTheLearningRateWhateverTheGradient) {
  AdamWTensor t = {at::zeros({2}), {}, at::zeros({2}), at::zeros({2}), at::zeros({2})};
  t.gradient[0] = 1e-4;
  t.gradient[1] = -1e4;
  adamw_step(t, {.learning_rate = 0.5});
  EXPECT_NEAR(t.value[0].item<float>(), -0.5, 1e-4);
  EXPECT_NEAR(t.value[1].item<float>(), 0.5, 1e-6);
}

TEST(AdamWErrors, RefuseOtherTypesAndSizes) {
  AdamWTensor t = random_tensor(8, false);
  t.m = at::zeros({7});
  EXPECT_THROW(adamw_step(t, kStep), Error);
  t = random_tensor(8, true);
  t.master.reset();
  EXPECT_THROW(adamw_step(t, kStep), Error);
  t = random_tensor(8, false);
  t.gradient.reset();
  EXPECT_THROW(adamw_step(t, kStep), Error);
}

TEST(SquaredNorm, IsThatOfTheDoubles) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble}) {
    for (const int64_t size : {0, 1, 31, 33, 8192, 8193, 500'001}) {
      const auto x = at::randn({size}).to(type);
      const auto exact = x.to(at::kDouble).square().sum().item<double>();
      EXPECT_NEAR(squared_norm(x), exact, 1e-12 * exact);
    }
  }
}

TEST(SquaredNorm, HasTheSameBitsWithAnyThreadsAndInstructions) {
  const auto x = at::randn({1'000'003});
  const int threads = at::get_num_threads();
  const double best = squared_norm(x);
  limit_isa(Isa::plain);
  at::set_num_threads(1);
  EXPECT_EQ(squared_norm(x), best);
  at::set_num_threads(threads);
  limit_isa(Isa::avx512_bf16);
}

TEST(SquaredNorm, ShowsWhatIsNotFiniteAndDoesNotOverflow) {
  auto x = at::full({100'000}, 1e30);
  EXPECT_NEAR(squared_norm(x) / 1e65, 1, 1e-6);
  x[77'777] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(std::isfinite(squared_norm(x)));
  x[77'777] = std::nan("");
  EXPECT_FALSE(std::isfinite(squared_norm(x)));
}

}  // namespace
}  // namespace chorus
