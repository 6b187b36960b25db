// Whatever lies on the host or on disk, training gives the same bits.
#include "train/tiers.h"

#include <atomic>
#include <chrono>
#include <csignal>
#include <thread>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "memory/usage.h"
#include "temporary_folder.h"
#include "toy_run.h"
#include "train/trainer.h"

namespace chorus {
namespace {

class TiersTest : public testing::Test {
 protected:
  void SetUp() override { console().set_quiet(true); }
  std::map<std::string, std::string> train_with(const RunConfig& config, const std::string& name) {
    train_run(config, {.folder = folder_ / name, .accept_changes = true});
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
    config.model.decoder_start = positions == Positions::relative ? kPad : kEos;
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
  EXPECT_THROW(train_run(config, {.folder = folder_ / "run"}), UserError);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  train_with(config, "run");  // the checkpoint is whole
}

/// Whether a run has made an update.
bool has_trained(const std::filesystem::path& run) {
  std::ifstream file(run / "metrics.jsonl");
  std::string line;
  return static_cast<bool>(std::getline(file, line));
}

TEST_F(TiersTest, KilledWithEverythingOnNvmeItGoesOnAndLeavesNoFile) {
  RunConfig config = toy_run(folder_.path(), 12);
  config.train.log_every = 1;
  config.train.checkpoint_every = 2;
  config.train.recompute = true;
  config.validation.every = 0;
  const RunConfig plain = config;
  config.memory = {.parameters = kNvme, .gradients = kNvme, .optimizer = kNvme, .activations = kNvme};
  // The processes that are killed are forked before this one has made any thread.
  const std::filesystem::path killed = folder_ / "killed";
  int kills = 0;  // while it trained
  const auto seed = static_cast<uint64_t>(getpid());
  SCOPED_TRACE(testing::Message() << "seed of the moments: " << seed);
  const RandomKey moments(seed);
  for (uint64_t i = 0; i < 200; ++i) {
    if (train_and_kill(config, killed, static_cast<int>(100 + 15 * i + moments.below(i, 200)))) break;
    kills += has_trained(killed) ? 1 : 0;
    EXPECT_TRUE(!std::filesystem::exists(killed / "scratch") ||
                std::filesystem::is_empty(killed / "scratch"));
  }
  EXPECT_GT(kills, 0);
  EXPECT_TRUE(train_with(plain, "whole") == last_tensors(killed)) << "after " << kills << " kills";
}

/// Empties the files without a name that this process has in `folder`.
bool empty_scratch_files(const std::filesystem::path& folder) {
  bool any = false;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const std::string name = std::filesystem::read_symlink(entry.path(), error).string();
    if (!name.starts_with(folder.string())) continue;
    std::filesystem::resize_file(entry.path(), 0, error);
    any |= !error;
  }
  return any;
}

TEST_F(TiersTest, ADiskThatFailsInTheMiddleEndsTheRunWithOneLine) {
  RunConfig config = toy_run(folder_.path(), 100);
  config.train.log_every = 1;
  config.train.checkpoint_every = 3;
  config.memory = {.parameters = kNvme, .gradients = kNvme, .optimizer = kNvme};
  std::atomic<bool> emptied = false, ended = false;
  std::thread disk([&] {
    while (!ended && !emptied) {
      if (std::filesystem::exists(folder_ / "run" / "checkpoints" / "step-00000003"))
        emptied = empty_scratch_files(folder_ / "run" / "scratch");
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  try {
    train_run(config, {.folder = folder_ / "run"});
    ADD_FAILURE() << "it ended well";
  } catch (const Error& error) {
    const std::string line = error.what();
    EXPECT_NE(line.find("scratch file"), std::string::npos) << line;
    EXPECT_NE(line.find("the last checkpoint is whole"), std::string::npos) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  }
  ended = true;
  disk.join();
  ASSERT_TRUE(emptied);
  config.train.duration.count = 0;
  config.memory = {};
  EXPECT_GE(std::stoi(train_with(config, "run").at("step")), 3);
}

}  // namespace
}  // namespace chorus
