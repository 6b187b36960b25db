#include "moe/inference.h"

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"

namespace chorus {
namespace {

struct InferenceCase {
  int64_t rows, experts, top_k;
  GateNormalization normalization;
  Activation activation;
  at::ScalarType type;
};

class MoeRows : public testing::TestWithParam<std::tuple<InferenceCase, Isa>> {
 protected:
  MoeRows() { limit_isa(std::get<1>(GetParam())); }
  ~MoeRows() override { limit_isa(Isa::avx512_bf16); }
};

TEST_P(MoeRows, EqualTheLayerInDouble) {
  const InferenceCase c = std::get<0>(GetParam());
  at::manual_seed(3);
  constexpr int64_t kWidth = 24, kInner = 17;
  const int64_t inputs = activation_inputs(c.activation, kInner);
  const auto weight = [&](at::IntArrayRef shape, at::ScalarType type) {
    return Parameter{at::randn(shape).mul_(0.5).to(type), {}};
  };
  Parameter router = weight({c.experts, kWidth}, at::kFloat);
  Parameter fc1_weight = weight({c.experts, inputs, kWidth}, c.type),
            fc1_bias = weight({c.experts, inputs}, c.type);
  Parameter fc2_weight = weight({c.experts, kWidth, kInner}, c.type),
            fc2_bias = weight({c.experts, kWidth}, c.type);
  const MoeWeights weights = {&router, &fc1_weight, &fc1_bias, &fc2_weight, &fc2_bias};
  const MoeConfig config = {.experts = c.experts,
                            .top_k = c.top_k,
                            .evaluation_capacity_factor = 0.1,  // does not bind
                            .gate_normalization = c.normalization,
                            .expert_output_dropout = 0.2};
  const at::Tensor hidden = at::randn({c.rows, kWidth}), residual = at::randn({c.rows, kWidth});
  const at::Tensor actual = moe_rows(hidden, residual, weights, config, c.activation);
  for (Parameter* p : {&router, &fc1_weight, &fc1_bias, &fc2_weight, &fc2_bias})
    p->value = p->value.to(at::kDouble);
  const at::Tensor expected =
      residual.to(at::kDouble) +
      moe_layer(hidden.to(at::kDouble), weights, config, {.dropless = true, .activation = c.activation});
  // bf16 arithmetic rounds what the weights are multiplied with.
  const bool rounds = c.type == at::kBFloat16 && cpu_isa() == Isa::avx512_bf16;
  EXPECT_TRUE(at::allclose(actual.to(at::kDouble), expected, 1e-4, rounds ? 0.1 : 1e-4));
}

INSTANTIATE_TEST_SUITE_P(
    Cases, MoeRows,
    testing::Combine(
        testing::Values(
            InferenceCase{1, 1, 1, GateNormalization::none, Activation::relu, at::kFloat},
            InferenceCase{1, 5, 2, GateNormalization::after_drop, Activation::relu, at::kFloat},
            InferenceCase{40, 7, 2, GateNormalization::after_drop, Activation::gelu, at::kFloat},
            InferenceCase{64, 3, 1, GateNormalization::none, Activation::swiglu, at::kFloat},
            InferenceCase{8, 32, 2, GateNormalization::before_drop, Activation::relu, at::kBFloat16},
            InferenceCase{90, 3, 2, GateNormalization::before_drop, Activation::relu, at::kBFloat16}),
        testing::Values(Isa::plain, Isa::avx512, Isa::avx512_bf16)));

}  // namespace
}  // namespace chorus
