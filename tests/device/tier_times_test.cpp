// What a training in slower memory takes by the simulated clock: whether what should go on beside computing does.
#include <memory>
#include <optional>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "device/tested_device.h"
#include "model/fixtures.h"
#include "state/optimizer.h"
#include "state/stash.h"
#include "temporary_folder.h"
#include "train/tiers.h"

namespace chorus {
namespace {

using testing::device;

/// A training by the simulated clock.
class TimedTraining {
 public:
  explicit TimedTraining(MemoryConfig memory, bool recompute = false) : recompute_(recompute) {
    config_.dropout = config_.attention_dropout = config_.activation_dropout = 0;
    config_.d_model = 240;
    config_.ffn_dim = 1000;
    config_.encoder_layers = config_.decoder_layers = 3;
    config_.moe.experts = 0;
    memory.folder = folder_.path().string();
    model_.emplace(config_, Transformer::Options{
                                .device = device(), .gradients = true, .empty = true, .parallel = &alone_});
    optimizer_.emplace(*model_, OptimConfig{}, alone_, memory);
    if (memory.activations != kDevice)
      stash_ = std::make_unique<TierStash>(memory.activations, folder_.path());
    optimizer_->initialise(RandomKey(1));
    optimizer_->begin_update();
    optimizer_->last_micro_batch();
    testing::take_device_time();
    testing::take_counts();
  }

  void micro_batch() {
    model_->train(batch(), {.training = true}, {.recompute = recompute_, .stash = stash_.get()});
  }
  void forward() { model_->evaluate(batch(), {}); }
  double norm() { return optimizer_->gradient_norm(); }
  /// Until it is made, or until AdamW has begun on the host.
  void update(bool finish) {
    optimizer_->update(1e-3, optimizer_->gradient_norm());
    if (finish) optimizer_->finish_update();
    optimizer_->begin_update();
    optimizer_->last_micro_batch();
  }

 private:
  Batch batch() { return model_->to_batch(tiny_batch(8, 8, 8, config_.vocabulary)); }

  bool recompute_;
  ModelConfig config_ = tiny_config();
  TemporaryFolder folder_;
  Parallel alone_;
  std::optional<Transformer> model_;
  std::optional<Optimizer> optimizer_;
  std::unique_ptr<TierStash> stash_;
};

/// What a micro-batch takes.
struct Taken {
  double seconds = 0, copying = 0;  // all of it; what its copies would take alone
};

Taken time_of(const MemoryConfig& memory, bool recompute) {
  TimedTraining training(memory, recompute);
  training.micro_batch();
  const testing::DeviceCounts counts = testing::take_counts();
  return {.seconds = testing::take_device_time(),
          .copying = testing::DeviceRates::launch *
                         static_cast<double>(counts.copies_to_device + counts.copies_to_host) +
                     static_cast<double>(counts.bytes_to_device + counts.bytes_to_host) /
                         testing::DeviceRates::link};
}

TEST(DeviceTierTimes, WhatMovesMovesBesideComputing) {
  if (device() != testing::kSimulated) GTEST_SKIP() << "by the simulated device's clock";
  for (const MemoryConfig& memory :
       {MemoryConfig{.parameters = kHost, .gradients = kHost, .optimizer = kHost},
        MemoryConfig{.activations = kHost}}) {
    SCOPED_TRACE(fmt::format("parameters {} optimizer {}", static_cast<int>(memory.parameters),
                             static_cast<int>(memory.optimizer)));
    const bool recompute = memory.activations != kDevice;
    const Taken here = time_of({}, recompute), moved = time_of(memory, recompute);
    const double copying = moved.copying - here.copying;
    EXPECT_GT(copying, (recompute ? 0.01 : 0.1) * here.seconds);
    EXPECT_LT(moved.seconds - here.seconds, copying / 3) << copying << " of " << here.seconds;
  }
}

TEST(DeviceTierTimes, AdamWOnTheHostGoesBesideTheNextForward) {
  if (device() != testing::kSimulated) GTEST_SKIP() << "by the simulated device's clock";
  for (const MemoryConfig& memory :
       {MemoryConfig{.optimizer = kHost},
        MemoryConfig{.parameters = kHost, .gradients = kHost, .optimizer = kHost},
        MemoryConfig{.parameters = kHost, .gradients = kHost, .optimizer = kNvme}}) {
    SCOPED_TRACE(fmt::format("parameters {} optimizer {}", static_cast<int>(memory.parameters),
                             static_cast<int>(memory.optimizer)));
    TimedTraining training(memory);
    training.micro_batch();
    testing::take_device_time();
    training.update(true);
    const double update = testing::take_device_time();
    training.forward();
    const double forward = testing::take_device_time();
    training.micro_batch();
    const double micro_batch = testing::take_device_time();
    training.update(false);
    training.micro_batch();
    const double saved = update + micro_batch - testing::take_device_time();
    EXPECT_GT(saved, 0.5 * std::min(update, forward)) << update << " and " << forward;
  }
}

TEST(DeviceTierTimes, TheNormOfGradientsOnTheHostIsAddedUpBesideBackward) {
  if (device() != testing::kSimulated) GTEST_SKIP() << "by the simulated device's clock";
  const auto norm_after_backward = [](const MemoryConfig& memory) {
    TimedTraining training(memory);
    training.micro_batch();
    testing::take_device_time();
    training.norm();
    return testing::take_device_time();
  };
  const double from_disk = norm_after_backward({.gradients = kNvme, .optimizer = kHost});
  const double from_host = norm_after_backward({.gradients = kHost, .optimizer = kHost});
  EXPECT_LT(from_host, 0.5 * from_disk) << "which is read after backward";
}

}  // namespace
}  // namespace chorus
