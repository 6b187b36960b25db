// An MoE layer on one rank can be captured as a CUDA graph, which is replayed with other tokens: what the device is
// given does not depend on them, and nothing on the way asks the host. The simulated device shows that; on a GPU the
// graph is made, and has to give what the layer gives.
#include <optional>
#include <string>
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#ifdef CHORUS_CUDA_GRAPHS
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>
#endif

#include "device/tested_device.h"
#include "moe/layer.h"

namespace chorus {
namespace {

using testing::device;

/// An MoE layer in bf16 with a binding capacity, as it is trained; the tokens lie in one place.
class CapturedLayer {
 public:
  static constexpr int64_t kTokens = 512, kWidth = 32, kInner = 64;
  at::Tensor output, by_hidden;  // of the last run

  explicit CapturedLayer(int64_t experts) {
    config_ = {.experts = experts,
               .top_k = 2,
               .capacity_factor = 1,
               .selection = TokenSelection::random,
               .jitter = 0.1,
               .z_loss = 0.1};
    for (const std::vector<int64_t>& sizes :
         {std::vector{experts, kWidth}, std::vector{experts, kInner, kWidth}, std::vector{experts, kInner},
          std::vector{experts, kWidth, kInner}, std::vector{experts, kWidth}}) {
      const auto type = parameters_.empty() ? at::kFloat : at::kBFloat16;  // the router's are fp32
      const at::Tensor value = (0.2 * at::randn(sizes)).to(type).to(device());
      parameters_.push_back(
          {at::Tensor(value).requires_grad_(true), at::zeros_like(value, at::TensorOptions(at::kFloat))});
    }
    hidden_ =
        at::zeros({kTokens, kWidth}, at::TensorOptions(at::kBFloat16).device(device())).requires_grad_(true);
    gradient_ = at::randn({kTokens, kWidth}).to(at::kBFloat16).to(device());
  }

  void set_tokens(uint64_t seed) {
    at::manual_seed(seed);
    hidden_.detach().copy_(at::randn({kTokens, kWidth}).to(at::kBFloat16));
  }
  void both_ways() {
    for (Parameter& parameter : parameters_) parameter.has_gradient = false;
    const MoeWeights weights = {parameters_.data(), &parameters_[1], &parameters_[2], &parameters_[3],
                                &parameters_[4]};
    output = moe_layer(hidden_, weights, config_,
                       {.training = true, .key = RandomKey(3), .activation = Activation::gelu});
    by_hidden = torch::autograd::grad({output}, {hidden_}, {gradient_})[0];
  }
  /// The output, and the gradients w.r.t. tokens and weights.
  [[nodiscard]] std::vector<at::Tensor> results() const {
    std::vector<at::Tensor> all = {output.detach().cpu(), by_hidden.cpu()};
    for (const Parameter& parameter : parameters_) all.push_back(parameter.gradient.cpu());
    return all;
  }

 private:
  MoeConfig config_;
  std::vector<Parameter> parameters_;
  at::Tensor hidden_, gradient_;
};

class Capture : public ::testing::TestWithParam<int64_t> {
 protected:
  void TearDown() override { testing::run_own_kernels(true); }
};

INSTANTIATE_TEST_SUITE_P(Experts, Capture, ::testing::Values(8, 128));

TEST_P(Capture, WhatTheDeviceIsGivenDoesNotDependOnTokens) {
  if (device() != testing::kSimulated) GTEST_SKIP() << "only the simulated device records";
  for (const bool own_kernels : {true, false}) {
    testing::run_own_kernels(own_kernels);
    CapturedLayer layer(GetParam());
    const auto run = [&](uint64_t seed) {
      layer.set_tokens(seed);
      testing::take_counts();
      const std::vector<std::string> given = testing::recorded([&] { layer.both_ways(); });
      const testing::DeviceCounts counts = testing::take_counts();
      EXPECT_EQ(counts.waits, 0);
      EXPECT_EQ(counts.copies_to_device + counts.copies_to_host, 0);
      return given;
    };
    run(1);
    const std::vector<std::string> given = run(2);
    const std::vector<at::Tensor> results = layer.results();
    EXPECT_EQ(run(3), given);
    EXPECT_FALSE(at::equal(layer.results()[0], results[0]));
    EXPECT_GT(given.size(), own_kernels ? 30 : 300);
  }
}

#ifdef CHORUS_CUDA_GRAPHS
TEST_P(Capture, AGraphGivesWhatTheLayerGives) {
  if (!device().is_cuda()) GTEST_SKIP() << "of CUDA";
  int generation = 0;
  ASSERT_EQ(cudaDeviceGetAttribute(&generation, cudaDevAttrComputeCapabilityMajor, device().index()),
            cudaSuccess);
  if (generation < 9) GTEST_SKIP() << "grouped products ask the host before sm_90";
  CapturedLayer layer(GetParam());
  at::cuda::CUDAGraph graph;
  {
    const c10::cuda::CUDAStreamGuard beside(c10::cuda::getStreamFromPool(false, device().index()));
    layer.set_tokens(1);
    layer.both_ways();  // libraries make themselves ready
    c10::cuda::device_synchronize();
    graph.capture_begin();
    layer.both_ways();
    graph.capture_end();
    c10::cuda::device_synchronize();
  }
  const at::Tensor output = layer.output, by_hidden = layer.by_hidden;
  for (const uint64_t seed : {2, 3}) {
    layer.set_tokens(seed);
    layer.both_ways();
    const std::vector<at::Tensor> expected = layer.results();
    graph.replay();
    c10::cuda::device_synchronize();
    layer.output = output;
    layer.by_hidden = by_hidden;
    const std::vector<at::Tensor> replayed = layer.results();
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_TRUE(at::allclose(replayed[i].to(at::kFloat), expected[i].to(at::kFloat), 1e-2, 1e-2)) << i;
  }
}
#endif

}  // namespace
}  // namespace chorus
