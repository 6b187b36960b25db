// Slower memory for a training that computes on a device: whatever lies on the host or on disk, the result is that of
// everything on the device.
//
// To the bit where AdamW runs on the device, that is, where the moments lie there; and so among all placements with
// moments on the host or on disk. Between the two the norm, by which gradients are clipped, is added up in another
// order.
#include "train/tiers.h"

#include <set>
#include <vector>

#include <ATen/Functions.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "device/tested_device.h"
#include "memory/usage.h"
#include "model/fixtures.h"
#include "state/frozen.h"
#include "state/optimizer.h"
#include "state/stash.h"
#include "temporary_folder.h"
#include "toy_run.h"
#include "train/trainer.h"

namespace chorus {
namespace {

using testing::device;

constexpr std::array kTiers = {kDevice, kHost, kNvme};

std::string text_of(const MemoryConfig& m) {
  const auto number = [](std::optional<Tier> tier) { return tier ? static_cast<int>(*tier) : -1; };
  return fmt::format("{}{}{} experts {}{}{} activations {}", number(m.parameters), number(m.gradients),
                     number(m.optimizer), number(m.expert_parameters), number(m.expert_gradients),
                     number(m.expert_optimizer), number(m.activations));
}

/// Masters, m and v of all weights.
using Weights = std::vector<at::Tensor>;

Weights weights_of(Optimizer& optimizer) {
  std::vector<std::vector<at::Tensor>> parts(3);
  optimizer.read([&](const Optimizer::Part& part) {
    parts[0].push_back(part.master.cpu().clone());
    parts[1].push_back(part.m.cpu().clone());
    parts[2].push_back(part.v.cpu().clone());
  });
  return {at::cat(parts[0]), at::cat(parts[1]), at::cat(parts[2])};
}

double difference(const Weights& a, const Weights& b) {
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i)
    most = std::max(most, ((a[i] - b[i]).abs().max() / b[i].abs().max()).item<double>());
  return most;
}

void expect_same(const Weights& actual, const Weights& expected, double tolerance) {
  if (repeats_bits() && tolerance == 0) {
    for (size_t i = 0; i < actual.size(); ++i) EXPECT_TRUE(at::equal(actual[i], expected[i])) << i;
  } else {
    EXPECT_LE(difference(actual, expected), std::max(tolerance, 1e-5));
  }
}

/// Without random masks, which take the simulated device most of its time.
ModelConfig without_masks(ModelConfig config) {
  config.dropout = config.attention_dropout = config.activation_dropout = config.moe.jitter = 0;
  return config;
}

ModelConfig plain_config() {
  ModelConfig config = without_masks(tiny_config());
  config.encoder_layers = 1;
  config.moe.encoder_every = 1;
  return config;
}

class DeviceTiers : public ::testing::Test {
 protected:
  struct Options {
    ModelConfig model = plain_config();
    at::ScalarType compute = at::kFloat;
    bool recompute = false;
    int64_t rows = 4;
    StateForm expert_state = StateForm::fp32;
    std::vector<std::string> frozen;
  };

  /// What some updates of two micro-batches each come to.
  Weights train(const Options& options, MemoryConfig memory) {
    constexpr int64_t kUpdates = 3;
    memory.folder = folder_.path().string();
    Parallel alone;
    Transformer model(options.model, {.device = device(),
                                      .compute = options.compute,
                                      .gradients = true,
                                      .empty = true,
                                      .parallel = &alone});
    OptimConfig optim;
    optim.epsilon = 1e-5;  // smaller, it would blow up what is rounding alone
    optim.clip_norm = 0.5;
    optim.expert_state = options.expert_state;
    Optimizer optimizer(model, optim, alone, memory);
    if (!options.frozen.empty()) optimizer.freeze(frozen_parameters(model.catalogue(), options.frozen));
    std::unique_ptr<TierStash> stash;
    if (memory.activations != kDevice)
      stash = std::make_unique<TierStash>(memory.activations, folder_.path());
    optimizer.initialise(RandomKey(1));
    for (int64_t update = 0; update < kUpdates; ++update) {
      optimizer.begin_update();
      for (int64_t i = 0; i < 2; ++i) {
        if (i == 1) optimizer.last_micro_batch();
        const MicroBatch batch =
            tiny_batch(options.rows, 5 + update % 3 + i, 6 - update % 2, options.model.vocabulary);
        model.train(model.to_batch(batch), {.training = true, .key = RandomKey(7).derive(2 * update + i)},
                    {.gradient_scale = 0.05, .recompute = options.recompute, .stash = stash.get()});
      }
      optimizer.update(1e-2, optimizer.gradient_norm());
    }
    return weights_of(optimizer);
  }

  TemporaryFolder folder_;
};

TEST_F(DeviceTiers, EveryPlacementGivesWhatTheDeviceGives) {
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    const Options options = {.compute = compute};
    const Weights on_device = train(options, {}), on_host = train(options, {.optimizer = kHost});
    // Of bf16 weights another bit is 2^-8 of the weight, which the gradients of the next update see.
    expect_same(on_host, on_device, compute == at::kFloat ? 1e-5 : 1e-2);
    const auto check = [&](const MemoryConfig& memory) {
      SCOPED_TRACE(text_of(memory));
      expect_same(train(options, memory), memory.optimizer == kDevice ? on_device : on_host, 0);
    };
    for (const Tier parameters : kTiers) {
      for (const Tier gradients : kTiers) {
        for (const Tier optimizer : kTiers) {
          check({.parameters = parameters, .gradients = gradients, .optimizer = optimizer});
        }
      }
    }
    check({.optimizer = kHost,
           .expert_parameters = kNvme,
           .expert_gradients = kHost,
           .expert_optimizer = kNvme});
  }
}

TEST_F(DeviceTiers, ExpertsByUseGiveTheBitsOfADenseUpdate) {
  Options options = {.rows = 1};
  options.model.moe.experts = 16;
  options.model.moe.top_k = 1;
  for (const bool recompute : {false, true}) {
    options.recompute = recompute;
    const Weights on_device = train(options, {});
    // Everything is by use where experts' moments are on the host, so what is not is where another rank shares them.
    const Weights on_host = train(options, {.optimizer = kHost});
    expect_same(on_host, on_device, 1e-5);
    for (const MemoryConfig& memory :
         {MemoryConfig{.expert_parameters = kDevice, .expert_gradients = kNvme},
          MemoryConfig{.expert_parameters = kHost},
          MemoryConfig{.expert_parameters = kNvme, .expert_gradients = kHost},
          MemoryConfig{.optimizer = kHost,
          .expert_parameters = kHost,
          .expert_gradients = kHost,
          .expert_optimizer = kNvme},
          MemoryConfig{.optimizer = kHost, .expert_parameters = kNvme, .expert_optimizer = kHost}}) {
      SCOPED_TRACE(text_of(memory));
      expect_same(train(options, memory), memory.optimizer == kDevice ? on_device : on_host, 0);
    }
  }
}

TEST_F(DeviceTiers, ActivationsWaitElsewhere) {
  for (const ModelConfig& model : {plain_config(), without_masks(switch_config())}) {
    const Options options = {.model = model, .compute = at::kBFloat16, .recompute = true};
    const Weights expected = train(options, {});
    for (const Tier tier : {kHost, kNvme}) {
      SCOPED_TRACE(static_cast<int>(tier));
      expect_same(train(options, {.activations = tier}), expected, 0);
    }
  }
}

TEST_F(DeviceTiers, CompactMomentsLieAnywhere) {
  for (const StateForm form : {StateForm::bf16, StateForm::fp8}) {
    const Options options = {.expert_state = form};
    const Weights expected = train(options, {.optimizer = kHost, .expert_optimizer = kDevice});
    for (const Tier tier : {kHost, kNvme}) {
      SCOPED_TRACE(static_cast<int>(tier));
      expect_same(train(options, {.optimizer = kHost, .expert_gradients = kHost, .expert_optimizer = tier}),
                  expected, 0);
    }
  }
}

TEST_F(DeviceTiers, FrozenPartsStay) {
  const Options options = {.frozen = {"router", "decoder.*"}};
  const Weights expected = train(options, {});
  expect_same(train(options, {.parameters = kNvme, .gradients = kHost}), expected, 0);
  expect_same(train(options, {.parameters = kHost, .optimizer = kNvme}), expected, 1e-5);
}

TEST(DeviceMemory, IsCountedWhereItLiesAndKeptWithinTheBudget) {
  constexpr int64_t kMiB = 1 << 20;
  const int64_t taken = [] {
    const DeviceMemoryCount counting(0, device());
    return device_memory().now;
  }();
  const DeviceMemoryCount counting(taken + 9 * kMiB, device());
  const auto there = [](int64_t bytes) {
    return at::zeros({bytes}, at::TensorOptions(at::kByte).device(device()));
  };
  restart_peaks();
  const int64_t before = device_memory().now;
  {
    const at::Tensor one = there(4 * kMiB), two = there(4 * kMiB), host = at::zeros({8 * kMiB}, at::kByte);
    EXPECT_EQ(device_memory().now - before, 8 * kMiB);
  }
  EXPECT_EQ(device_memory().now, before);
  EXPECT_EQ(device_memory().peak - before, 8 * kMiB);
  check_device_budget();
  static_cast<void>(there(10 * kMiB));
  EXPECT_THROW(check_device_budget(), Error);
  restart_peaks();
  check_device_budget();
  EXPECT_GT(free_memory_of(device()), 10 * kMiB);
}

TEST(DeviceMemory, OfTheHostIsPageLockedInFewPieces) {
  const MemoryUse before = host_memory();
  const std::vector<int64_t> elements = {1 << 20, 3 << 20, 5000, 3 << 18, 1, 77};
  const std::vector<at::Tensor> tensors = allocate_on_host(elements, at::kFloat, device());
  ASSERT_EQ(tensors.size(), elements.size());
  std::set<const void*> pieces;
  int64_t bytes = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(tensors[i].numel(), elements[i]);
    EXPECT_TRUE(tensors[i].is_pinned());
    tensors[i].fill_(static_cast<double>(i));
    pieces.insert(tensors[i].storage().data());
    bytes += 4 * elements[i];
  }
  for (size_t i = 0; i < tensors.size(); ++i)
    EXPECT_TRUE(at::equal(tensors[i], at::full_like(tensors[i], static_cast<double>(i)))) << i;
  EXPECT_LE(pieces.size(), 3U);
  EXPECT_EQ(host_memory().now - before.now, bytes);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(allocate_on_host(5, at::kFloat, device()).data_ptr()) % 4096, 0U);
}

/// Whole runs.
class DeviceTierRuns : public ::testing::Test {
 protected:
  void SetUp() override { console().set_quiet(true); }
  std::map<std::string, std::string> train_with(const RunConfig& config, const std::string& name) {
    train_run(config, {.folder = folder_ / name, .accept_changes = true});
    return last_tensors(folder_ / name);
  }
  [[nodiscard]] RunConfig run(int64_t updates) const {
    RunConfig config = toy_run(folder_.path(), updates);
    config.model = without_masks(config.model);
    config.device = testing::device_name();
    config.train.checkpoint_every = 0;
    config.validation.every = 3;
    return config;
  }
  TemporaryFolder folder_;
};

TEST_F(DeviceTierRuns, ARunGoesOnInOtherTiers) {
  RunConfig config = run(6);
  config.train.recompute = true;
  config.memory = {.optimizer = kHost};
  const auto expected = train_with(config, "one");
  config.memory = {.parameters = kNvme, .gradients = kHost, .optimizer = kNvme, .activations = kHost};
  config.train.duration = {.count = 3};
  train_with(config, "moving");
  config.memory = {.gradients = kNvme, .optimizer = kHost, .activations = kNvme};
  config.train.duration = {.count = 6};
  const auto moved = train_with(config, "moving");
  EXPECT_TRUE(moved == expected || !repeats_bits());
}

TEST_F(DeviceTierRuns, ThePlannerKeepsTheBudget) {
  RunConfig config = run(2);
  config.validation.every = 0;
  config.train.log_every = 1;
  config.model.d_model = 64;
  config.model.ffn_dim = 128;
  config.model.moe.experts = 8;
  train_with(config, "device");
  const int64_t kept = workspaces_of(device()), whole = peak(folder_ / "device", "device_peak") - kept;
  const int64_t budget = kept + whole * 3 / 4;
  EXPECT_EQ(peak(folder_ / "device", "host_peak"), 0);
  config.memory.device_budget = fmt::format("{}kB", budget / 1000);
  EXPECT_THROW(train_with(config, "refused"), UserError);
  for (Tier* tier : {&config.memory.parameters, &config.memory.gradients, &config.memory.optimizer})
    *tier = Tier::automatic;
  train_with(config, "budget");
  EXPECT_LE(peak(folder_ / "budget", "device_peak"), budget);
  EXPECT_GT(peak(folder_ / "budget", "host_peak"), 0);
}

/// Run before the others: libtorch trains on a device in no process that was forked after it has done so itself.
using DeviceTierRunsDeathTest = DeviceTierRuns;

TEST_F(DeviceTierRunsDeathTest, KilledWithEverythingOnNvmeItGoesOn) {
  if (!repeats_bits()) GTEST_SKIP() << "a GPU's process cannot be forked";
  RunConfig config = run(8);
  config.train.log_every = 1;
  config.train.checkpoint_every = 2;
  config.memory = {.parameters = kNvme, .gradients = kNvme, .optimizer = kNvme};
  const auto killed = folder_ / "killed";
  bool done = false;
  for (int i = 0; i < 100 && !done; ++i) done = train_and_kill(config, killed, 300 + 200 * i);
  ASSERT_TRUE(done);
  EXPECT_TRUE(train_with(config, "whole") == last_tensors(killed));
}

}  // namespace
}  // namespace chorus
