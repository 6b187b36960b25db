#include "model/executor.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

namespace chorus {
namespace {

using Inputs = std::span<const at::Tensor>;

at::Tensor leaf() {
  return at::tensor({0.5, -2.0, 3.0}, at::kDouble).requires_grad_(true);
}

TEST(Executor, AddsTheGradientsOfAValueThatSeveralBlocksRead) {
  for (const auto mode : {Executor::Mode::train, Executor::Mode::recompute}) {
    Executor executor(mode);
    int runs = 0;
    const at::Tensor weight = leaf();
    const Value x = executor.run(1, [&](Inputs, bool) { return weight * weight; }, {});
    const Value y = executor.run(1,
                                 [&](Inputs in, bool again) {
                                   EXPECT_EQ(again, runs++ > 0);
                                   return in[0].sin();
                                 },
                                 {x});
    const Value z = executor.run(1, [](Inputs in, bool) { return in[0] * in[1] * in[0]; }, {x, y});
    const Value unused = executor.run(1, [](Inputs in, bool) { return in[0].exp(); }, {y});
    executor.backward(z, at::ones({3}, at::kDouble));
    EXPECT_EQ(runs, mode == Executor::Mode::train ? 1 : 2);

    const at::Tensor plain = leaf(), square = plain * plain;
    torch::autograd::backward({(square * square.sin() * square).sum()}, {});
    EXPECT_TRUE(at::allclose(weight.grad(), plain.grad(), 1e-12, 1e-14));
  }
}

TEST(Executor, RecordsNothingWhenEvaluating) {
  Executor executor(Executor::Mode::evaluate);
  const Value x = executor.run(1, [](Inputs, bool) { return leaf() * 1; }, {});
  EXPECT_FALSE(x.data.requires_grad());
  EXPECT_EQ(x.gradient, nullptr);
}

}  // namespace
}  // namespace chorus
