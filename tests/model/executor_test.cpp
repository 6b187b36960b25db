#include "model/executor.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "suite_device.h"

namespace chorus {
namespace {

using Inputs = std::span<const at::Tensor>;

at::Tensor leaf() {
  return at::tensor({0.5, -2.0, 3.0}, there(at::kDouble)).requires_grad_(true);
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
    executor.backward(z, at::ones({3}, there(at::kDouble)));
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

/// Writes down what it is told: "+2", "-2" forward, "+2'" and "-2'" back.
struct Diary : BlockWatcher {
  std::string text;
  void before(size_t block, bool backward) override { note('+', block, backward); }
  void after(size_t block, bool backward) override { note('-', block, backward); }
  void note(char sign, size_t block, bool backward) {
    text += sign + std::to_string(block) + (backward ? "' " : " ");
  }
};

TEST(Executor, TellsWhenBlocksNeedTheirWeightsAndWhenTheirGradientsAreThere) {
  const auto run = [](Executor::Mode mode) {
    Diary diary;
    Executor executor(mode, &diary);
    const Value x = executor.run(0, [](Inputs, bool) { return leaf() * 1; }, {});
    const Value y = executor.run(1, [](Inputs in, bool) { return in[0].sin(); }, {x});
    const Value unused = executor.run(2, [](Inputs in, bool) { return in[0].exp(); }, {y});
    const Value z = executor.run(3, [](Inputs in, bool) { return in[0] * 2; }, {y});
    if (mode != Executor::Mode::evaluate) executor.backward(z, at::ones({3}, there(at::kDouble)));
    executor.finish();
    return diary.text;
  };
  // Block 0 is used throughout; what nothing depends on runs back too, since other ranks go along.
  for (const auto mode : {Executor::Mode::train, Executor::Mode::recompute})
    EXPECT_EQ(run(mode), "+0' +1 -1 +2 -2 +3 -3 +3' -3' +2' -2' +1' -1' -0' ");
  EXPECT_EQ(run(Executor::Mode::evaluate), "+0 +1 -1 +2 -2 +3 -3 -0 ");
}

}  // namespace
}  // namespace chorus
