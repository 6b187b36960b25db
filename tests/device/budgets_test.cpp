// What chorus asks of a device, as budgets: kernels, copies and waits of the host. A launch takes a GPU some five
// microseconds, a wait much more. Only the simulated device counts; each number may become less, and the tests follow.
#include <vector>

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "device/simulated.h"
#include "kernels/cross_entropy.h"
#include "model/fixtures.h"
#include "model/step_decoder.h"
#include "moe/layer.h"
#include "nn/linear_cross_entropy.h"
#include "state/optimizer.h"

namespace chorus {
namespace {

using testing::DeviceCounts;
using testing::kSimulated;
using testing::take_counts;

at::Tensor on_device(const at::Tensor& x) {
  return x.to(kSimulated);
}

class Budget : public ::testing::Test {
 protected:
  void SetUp() override {
    if (std::getenv("CHORUS_TEST_DEVICE")) GTEST_SKIP() << "only the simulated device counts";
  }
  void TearDown() override { testing::run_own_kernels(true); }
};

/// An MoE layer with 512 tokens, biases, two choices and a binding capacity.
struct CountedLayer {
  explicit CountedLayer(int64_t experts) {
    const auto make = [](at::IntArrayRef sizes) {
      const at::Tensor value = on_device(at::randn(sizes) * 0.2);
      return Parameter{at::Tensor(value).requires_grad_(true), at::zeros_like(value)};
    };
    parameters = {make({experts, 16}), make({experts, 24, 16}), make({experts, 24}), make({experts, 16, 24}),
                  make({experts, 16})};
    config = {.experts = experts,
              .top_k = 2,
              .capacity_factor = 1,
              .selection = TokenSelection::random,
              .jitter = 0};
    hidden = at::Tensor(on_device(at::randn({512, 16}))).requires_grad_(true);
  }
  void both_ways(const MoeCall& call) {
    const MoeWeights weights = {parameters.data(), &parameters[1], &parameters[2], &parameters[3],
                                &parameters[4]};
    moe_layer(hidden, weights, config, call).sum().backward();
  }
  std::vector<Parameter> parameters;
  MoeConfig config;
  at::Tensor hidden;
};

TEST_F(Budget, OfAnMoeLayerBothWays) {
  for (const bool own_kernels : {true, false}) {
    testing::run_own_kernels(own_kernels);
    for (const int64_t experts : {8, 32, 128}) {
      CountedLayer layer(experts);
      const MoeCall call = {.training = true, .key = RandomKey(3)};
      layer.both_ways(call);
      take_counts();
      layer.both_ways(call);
      const DeviceCounts counts = take_counts();
      EXPECT_LE(counts.kernels, own_kernels ? 36 : 322) << experts;
      EXPECT_EQ(counts.waits, 0);
      EXPECT_EQ(counts.copies_to_device, 0);
    }
  }
}

TEST_F(Budget, OfAnMoeLayerWithAllThatItMayDraw) {
  CountedLayer layer(32);
  layer.config.jitter = 0.1;
  layer.config.z_loss = 0.1;
  layer.config.gate_normalization = GateNormalization::after_drop;
  MoeStatistics statistics;
  const MoeCall call = {.training = true,
                        .key = RandomKey(3),
                        .activation_dropout = 0.1,
                        .active = ActiveRows(at::rand({512}) > 0.1, kSimulated),
                        .observer = {.statistics = &statistics}};
  layer.both_ways(call);
  take_counts();
  layer.both_ways(call);
  const DeviceCounts counts = take_counts();
  EXPECT_LE(counts.kernels, 62);  // of which logsumexp is nine and what is counted seven
  EXPECT_EQ(counts.waits, 0);
  EXPECT_LE(counts.copies_to_device, 1);  // the tokens' keys
}

TEST_F(Budget, OfAnUpdate) {
  ModelConfig config = tiny_config();
  config.moe.experts = 64;
  Parallel parallel;
  Transformer model(config, {.device = kSimulated, .gradients = true, .parallel = &parallel});
  Optimizer optimizer(model, {.clip_norm = 1}, parallel);
  optimizer.initialise(RandomKey(3));
  optimizer.begin_update();
  optimizer.last_micro_batch();
  model.train(model.to_batch(tiny_batch(5, 9, 8, config.vocabulary)), {.training = true}, {});
  take_counts();
  const double norm = optimizer.gradient_norm();
  optimizer.update(1e-3, norm);
  const DeviceCounts counts = take_counts();
  EXPECT_LE(counts.kernels, 3 * std::ssize(model.buckets()));  // of experts 130 weights each
  EXPECT_EQ(counts.waits, 1);
}

TEST_F(Budget, OfTheOutputLayerAndItsLoss) {
  constexpr int64_t kRows = 8193, kVocabulary = 4096;  // two chunks
  ASSERT_EQ(chunk_rows(kRows, kVocabulary, kLeastLossRowsOnDevice), 4097);
  for (const int64_t vocabulary : {kVocabulary, int64_t{256'000}}) {
    EXPECT_EQ(chunk_rows(3, vocabulary, kLeastLossRowsOnDevice), 3);
    EXPECT_EQ(chunk_rows(8191, vocabulary, kLeastLossRowsOnDevice), 8191)
        << "two would have fewer than 4,096 rows";
    EXPECT_EQ(chunk_rows(8192, vocabulary, kLeastLossRowsOnDevice), 4096);
  }
  const at::Tensor value = on_device(at::randn({kVocabulary, 8})), hidden = on_device(at::randn({kRows, 8}));
  Parameter weight = {value, at::zeros_like(value)};
  const at::Tensor labels = at::randint(2, kVocabulary, {kRows}, at::kLong);
  const LinearCrossEntropyOptions options = {.label_smoothing = 0.1, .gradient = true};
  linear_cross_entropy(hidden, weight, labels, options);
  take_counts();
  linear_cross_entropy(hidden, weight, labels, options);
  const DeviceCounts counts = take_counts();
  EXPECT_LE(counts.kernels, 2 * 6);
  EXPECT_EQ(counts.waits, 0);
}

TEST_F(Budget, OfADecodingStep) {
  for (const bool sparse : {false, true}) {
    ModelConfig config = tiny_config();
    config.encoder_layers = 1;
    config.decoder_layers = 4;
    config.d_model = config.ffn_dim = 24;  // rows of 16 bytes, as grouped products want them
    config.moe.decoder_every = 1;
    if (!sparse) config.moe.experts = 0;
    Transformer model(config, {.device = kSimulated});
    const auto decoder = make_step_decoder(model);
    const Side source = decoder->make_side({4, 11, 12, kEos, 4, 13, kEos, kPad}, 2, 4);
    const auto decoding = decoder->start(decoder->encode(source), source.attention_mask, 8);
    const at::Tensor ids = on_device(at::full({2}, kEos, at::kLong));
    decoding->step(ids);
    take_counts();
    decoding->step(ids);
    const DeviceCounts counts = take_counts();
    // GPUs have one kernel for attention, of which a layer has two; here it is ten operators.
    const int64_t kernels = counts.kernels - config.decoder_layers * 2 * 9;
    EXPECT_LE(kernels, config.decoder_layers * (sparse ? 25 : 17) + 4) << sparse;
    EXPECT_EQ(counts.waits, 0);
  }
}

}  // namespace
}  // namespace chorus
