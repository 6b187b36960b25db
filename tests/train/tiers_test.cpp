// Whatever lies on the host or on disk, training gives the same bits.
#include <csignal>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "chorus/base/error.h"
#include "chorus/base/log.h"
#include "chorus/memory/usage.h"
#include "chorus/train/trainer.h"

#include "temporary_folder.h"
#include "toy_run.h"

namespace chorus {
namespace {

constexpr Tier kDevice = Tier::device, kHost = Tier::host, kNvme = Tier::nvme;

/// The most of `kind` in a run's records.
int64_t peak(const std::filesystem::path& run, const char* kind) {
  std::ifstream file(run / "metrics.jsonl");
  int64_t most = 0;
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json record = nlohmann::json::parse(line);
    if (record["kind"] == "train") most = std::max(most, record["memory"][kind].get<int64_t>());
  }
  return most;
}

class TiersTest : public testing::Test {
 protected:
  void SetUp() override { console().set_quiet(true); }
  std::map<std::string, std::string> train_with(const RunConfig& config, const std::string& name) {
    train(config, {.folder = folder_ / name, .accept_changes = true});
    return last_tensors(folder_ / name);
  }
  TemporaryFolder folder_;
};

TEST_F(TiersTest, EveryPlacementGivesTheSameBits) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    RunConfig config = toy_run(folder_.path(), 4);
    config.precision = precision;
    config.model.layer_dropout = 0.3;
    config.data.micro_batches = 3;
    config.train.checkpoint_every = 0;
    const std::string type = precision == Precision::bf16 ? "bf16" : "fp32";
    const auto expected = train_with(config, type);
    for (const Tier parameters : {kDevice, kHost, kNvme}) {
      for (const Tier gradients : {kDevice, kHost, kNvme}) {
        for (const Tier optimizer : {kDevice, kHost, kNvme}) {
          config.memory = {.parameters = parameters, .gradients = gradients, .optimizer = optimizer};
          const std::string name = fmt::format("{}-{}{}{}", type, static_cast<int>(parameters),
                                               static_cast<int>(gradients), static_cast<int>(optimizer));
          EXPECT_TRUE(train_with(config, name) == expected) << name;
        }
      }
    }
    config.memory = {.expert_parameters = kNvme, .expert_gradients = kHost, .expert_optimizer = kNvme};
    EXPECT_TRUE(train_with(config, type + "-experts") == expected);
    config.memory = {.parameters = kHost, .optimizer = kNvme, .expert_parameters = kDevice};
    EXPECT_TRUE(train_with(config, type + "-dense") == expected);
  }
}

/// Blocks of more than one chunk.
RunConfig wide_run(const std::filesystem::path& folder) {
  RunConfig config = toy_run(folder, 3);
  config.model.d_model = 256;
  config.model.ffn_dim = 512;
  config.model.moe.experts = 8;
  config.data.micro_batches = 1;
  config.train.log_every = 1;
  config.train.checkpoint_every = 0;
  config.validation.every = 0;
  return config;
}

TEST_F(TiersTest, LargeBlocksPassInChunks) {
  RunConfig config = wide_run(folder_.path());
  const auto expected = train_with(config, "device");
  config.memory = {.parameters = kNvme, .gradients = kNvme, .optimizer = kNvme};
  EXPECT_TRUE(train_with(config, "nvme") == expected);
  config.memory = {.parameters = kHost, .gradients = kHost, .optimizer = kHost};
  EXPECT_TRUE(train_with(config, "host") == expected);
}

TEST_F(TiersTest, ActivationsWaitElsewhere) {
  RunConfig config = toy_run(folder_.path(), 4);
  config.train.recompute = true;
  config.model.layer_dropout = 0.3;
  config.train.log_every = 1;
  for (const Positions positions : {Positions::sinusoidal, Positions::relative}) {
    config.model.positions = positions;
    const std::string type = positions == Positions::relative ? "relative" : "sinusoidal";
    const auto expected = train_with(config, type);
    for (const Tier tier : {kHost, kNvme}) {
      config.memory = {.activations = tier};
      const std::string name = fmt::format("{}-{}", type, static_cast<int>(tier));
      EXPECT_TRUE(train_with(config, name) == expected) << name;
      EXPECT_EQ(peak(folder_ / name, "nvme") > 0, tier == kNvme);
      EXPECT_GT(peak(folder_ / name, "host_peak"), 0);
    }
    config.memory = {};
  }
  config.train.recompute = false;
  config.memory.activations = kHost;
  EXPECT_THROW(train_with(config, "graphs"), UserError);
}

TEST_F(TiersTest, ARunGoesOnInOtherTiers) {
  RunConfig config = toy_run(folder_.path(), 6);
  config.validation.every = 0;
  config.train.checkpoint_every = 0;
  const auto expected = train_with(config, "one");
  config.memory = {.parameters = kNvme, .gradients = kHost, .optimizer = kNvme};
  config.train.duration = {.count = 3};
  train_with(config, "moving");
  config.memory = {.gradients = kNvme, .optimizer = kHost};
  config.train.duration = {.count = 6};
  EXPECT_TRUE(train_with(config, "moving") == expected);
}

TEST_F(TiersTest, TheBudgetIsKept) {
  RunConfig config = wide_run(folder_.path());
  train_with(config, "device");
  const int64_t whole = peak(folder_ / "device", "device_peak");
  config.memory = {.parameters = kHost, .gradients = kHost, .optimizer = kNvme, .device_budget = "40MB"};
  train_with(config, "budget");
  EXPECT_LE(peak(folder_ / "budget", "device_peak"), 40'000'000);
  EXPECT_GT(peak(folder_ / "budget", "host_peak"), peak(folder_ / "budget", "nvme") / 2);
  EXPECT_GT(whole, 2 * 40'000'000);
  config.memory = {.device_budget = "40MB"};
  EXPECT_THROW(train_with(config, "refused"), Error);
  count_device_memory(0);
}

TEST_F(TiersTest, ADiskThatIsFullIsSaidBeforeTraining) {
  RunConfig config = toy_run(folder_.path(), 2);
  config.memory.optimizer = kNvme;
  train_with(config, "run");  // its text is there
  config.train.duration = {.count = 4};
  struct rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {.rlim_cur = 100'000, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(train(config, {.folder = folder_ / "run"}), UserError);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  train_with(config, "run");  // the checkpoint is whole
}

}  // namespace
}  // namespace chorus
