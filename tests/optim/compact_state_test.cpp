#include "optim/compact_state.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"

namespace chorus {
namespace {

/// m, v and master of many sizes.
at::Tensor random_state(int64_t rows, int64_t n) {
  const at::Tensor state = at::randn({rows, n}).mul_(at::randn({n}).mul_(3).exp_()).mul_(1e-4);
  state[0].slice(0, 0, std::nullopt, 7).zero_();
  state[1].square_();
  state[1].slice(0, 0, std::nullopt, 5).zero_();
  return state;
}

at::Tensor round_trip(StateForm form, const at::Tensor& state, int64_t step) {
  const at::Tensor bytes = at::full({packed_bytes(form, state.size(0), state.size(1))}, 255, at::kByte);
  pack_state(form, state, step, bytes);
  at::Tensor result = at::empty_like(state);
  unpack_state(form, bytes, result);
  return result;
}

class CompactState : public testing::TestWithParam<StateForm> {
 protected:
  ~CompactState() override { limit_isa(Isa::avx512_bf16); }
};

TEST_P(CompactState, IsPackedAgainWithoutLoss) {
  for (const int64_t n : {0, 1, 127, 128, 129, 70'001}) {
    for (const int64_t rows : {2, 3}) {
      const at::Tensor state = random_state(rows, n);
      for (const float size : {1.0F, 1e-30F, 1e-17F, 1e15F}) {
        const at::Tensor once = round_trip(GetParam(), state * size, 5);
        for (const int64_t step : {0, 6, 1'000'000}) {
          EXPECT_TRUE(at::equal(round_trip(GetParam(), once, step), once)) << n << ' ' << size << ' ' << step;
        }
        if (rows == 3) {
          EXPECT_TRUE(at::equal(once[2], state[2] * size));
        }
      }
    }
  }
}

TEST_P(CompactState, KeepsItsErrorBounds) {
  const bool bf16 = GetParam() == StateForm::bf16;
  const int64_t n = 1000 * kStateBlock;
  const at::Tensor state = random_state(2, n);
  for (int64_t step = 1; step < 20; ++step) {
    const at::Tensor rounded = round_trip(GetParam(), state, step);
    for (int64_t row = 0; row < 2; ++row) {
      const at::Tensor x = state[row].abs(), error = (rounded[row] - state[row]).abs();
      const at::Tensor most = std::get<0>(x.view({-1, kStateBlock}).max(1, true)).expand({-1, kStateBlock});
      const at::Tensor bound =
          bf16 ? x * 0x1p-7 : at::maximum(x * 0x1p-3, most.reshape({-1}) * (row == 0 ? 0x1p-16 : 0x1p-32));
      EXPECT_TRUE((error <= bound).all().item<bool>()) << step << ' ' << row;
      EXPECT_TRUE((error.gt(0) | x.eq(0)).any().item<bool>());
    }
    EXPECT_TRUE(at::equal(rounded[1] > 0, state[1] > 0));
  }
}

TEST_P(CompactState, IsRightOnAverageOverSteps) {
  const at::Tensor state = random_state(2, 5 * kStateBlock);
  const int64_t steps = 1024;
  at::Tensor sum = at::zeros_like(state);
  for (int64_t step = 1; step <= steps; ++step) {
    sum += round_trip(GetParam(), state, step);
  }
  const at::Tensor most = std::get<0>(state.abs().view({2, -1, kStateBlock}).max(2, true));
  const at::Tensor error = (sum / steps - state).abs().view({2, -1, kStateBlock});
  EXPECT_TRUE((error <= state.abs().view_as(error) * 2e-3 + most * 1e-6).all().item<bool>());
}

TEST_P(CompactState, FollowsADecayBelowItsPrecision) {
  at::Tensor state = at::full({2, kStateBlock}, 1.0F);
  const double decay = 0.999;
  for (int64_t step = 1; step <= 2000; ++step) {
    state.slice(1, 1).mul_(decay);  // beside one that stays
    state = round_trip(GetParam(), state, step);
  }
  EXPECT_EQ(state[1][0].item<float>(), 1);
  EXPECT_NEAR(state[1].slice(0, 1).mean().item<double>(), std::pow(decay, 2000), 0.2 * std::pow(decay, 2000));
}

TEST_P(CompactState, HasTheSameBitsOnEveryInstructionSetAndZeroBytesAreZero) {
  const at::Tensor state = random_state(3, 10'007), best = round_trip(GetParam(), state, 3);
  limit_isa(Isa::plain);
  EXPECT_TRUE(at::equal(round_trip(GetParam(), state, 3), best));
  const at::Tensor zeros = at::ones({2, 300});
  unpack_state(GetParam(), at::zeros({packed_bytes(GetParam(), 2, 300)}, at::kByte), zeros);
  EXPECT_EQ(zeros.abs().sum().item<float>(), 0);
}

INSTANTIATE_TEST_SUITE_P(Forms, CompactState, testing::Values(StateForm::bf16, StateForm::fp8));

TEST(CompactStateBytes, AreThose) {
  EXPECT_EQ(packed_bytes(StateForm::fp32, 2, 1000), 8000);
  EXPECT_EQ(packed_bytes(StateForm::bf16, 2, 1000), 4000);
  EXPECT_EQ(packed_bytes(StateForm::bf16, 3, 1000), 8000);
  EXPECT_EQ(packed_bytes(StateForm::fp8, 2, 1000), 2000 + 2 * 8);
  EXPECT_EQ(packed_bytes(StateForm::fp8, 3, 1000), 6000 + 2 * 8);
}

}  // namespace
}  // namespace chorus
