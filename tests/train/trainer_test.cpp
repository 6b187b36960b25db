#include "chorus/train/trainer.h"

#include <fstream>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "chorus/base/checkpoint.h"
#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/log.h"
#include "chorus/base/random.h"
#include "chorus/base/safetensors.h"

#include "temporary_folder.h"
#include "toy_run.h"

namespace chorus {
namespace {

class TrainerTest : public testing::Test {
 protected:
  void SetUp() override { console().set_quiet(true); }
  TemporaryFolder folder_;
};

TEST_F(TrainerTest, KilledAtRandomMomentsItEndsWithTheSameBits) {
  const RunConfig config = toy_run(folder_.path(), 20);
  // The processes that are killed are forked before this one has made any thread.
  const std::filesystem::path killed = folder_.path() / "killed";
  int kills = 0;
  const RandomKey moments(static_cast<uint64_t>(getpid()));
  for (uint64_t i = 0; i < 200; ++i) {
    if (train_and_kill(config, killed, static_cast<int>(30 + 15 * i + moments.below(i, 200)))) break;
    ++kills;
  }
  const std::filesystem::path whole = folder_.path() / "whole";
  EXPECT_EQ(train(config, {.folder = whole}), Ending::done);
  const auto expected = last_tensors(whole), actual = last_tensors(killed);
  EXPECT_EQ(expected.at("step"), "20");
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, bytes] : expected) {
    EXPECT_TRUE(actual.at(name) == bytes) << name << " differs after " << kills << " kills";
  }
  EXPECT_GT(kills, 0);
}

TEST_F(TrainerTest, LearnsAndKeepsTheBestModel) {
  RunConfig config = toy_run(folder_.path(), 60);
  config.validation.decode = 5;
  const std::filesystem::path run = folder_.path() / "run";
  EXPECT_EQ(train(config, {.folder = run}), Ending::done);
  std::ifstream metrics(run / "metrics.jsonl");
  double first = 0, last = 0, bleu = -1;
  for (std::string line; std::getline(metrics, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record["kind"] == "train") {
      if (first == 0) first = record["loss"];
      last = record["loss"];
      EXPECT_EQ(record["layers"].size(), 2U);
    } else {
      bleu = record["bleu"];
      EXPECT_EQ(record["directions"].size(), 2U);
    }
  }
  EXPECT_LT(last, 0.8 * first);
  EXPECT_GE(bleu, 0);
  for (const char* file :
       {"model.safetensors", "config.json", "generation_config.json", "sentencepiece.bpe.model"}) {
    EXPECT_TRUE(std::filesystem::exists(run / "model" / file)) << file;
  }
}

TEST_F(TrainerTest, NoUpdatesWriteTheInitialModelAndCanGoOn) {
  RunConfig config = toy_run(folder_.path(), 0);
  config.data.valid.clear();
  const std::filesystem::path run = folder_.path() / "run";
  EXPECT_EQ(train(config, {.folder = run}), Ending::done);
  EXPECT_EQ(last_tensors(run).at("step"), "0");
  EXPECT_TRUE(std::filesystem::exists(run / "model" / "model.safetensors"));
  config.train.duration.count = 4;
  EXPECT_EQ(train(config, {.folder = run}), Ending::done);
  train(config, {.folder = folder_.path() / "whole"});
  EXPECT_EQ(last_tensors(run), last_tensors(folder_.path() / "whole"));
}

TEST_F(TrainerTest, AccumulationDoesNotDependOnRecomputation) {
  RunConfig config = toy_run(folder_.path(), 6);
  config.data.valid.clear();
  train(config, {.folder = folder_.path() / "kept"});
  config.train.recompute = true;
  train(config, {.folder = folder_.path() / "again"});
  EXPECT_EQ(last_tensors(folder_.path() / "kept"), last_tensors(folder_.path() / "again"));
}

TEST_F(TrainerTest, OtherSettingsAreRefusedUnlessAccepted) {
  RunConfig config = toy_run(folder_.path(), 4);
  const std::filesystem::path run = folder_.path() / "run";
  train(config, {.folder = run});
  config.train.duration.count = 6;  // free to change
  config.optim.learning_rate = 1e-3;
  const std::string message = message_of<UserError>([&] { train(config, {.folder = run}); });
  EXPECT_NE(message.find("optim.learning_rate"), std::string::npos) << message;
  EXPECT_EQ(message.find("train.duration"), std::string::npos) << message;
  EXPECT_EQ(train(config, {.folder = run, .accept_changes = true}), Ending::done);
  EXPECT_EQ(last_tensors(run).at("step"), "6");
}

TEST_F(TrainerTest, ChangedTextIsRefusedUnlessAccepted) {
  RunConfig config = toy_run(folder_.path(), 4);
  const std::filesystem::path run = folder_.path() / "run";
  train(config, {.folder = run});
  std::ofstream(folder_.path() / "train.xx", std::ios::app) << "one more\n";
  std::ofstream(folder_.path() / "train.yy", std::ios::app) << "noch eine\n";
  config.train.duration.count = 6;
  const std::string message = message_of<UserError>([&] { train(config, {.folder = run}); });
  EXPECT_NE(message.find("has changed"), std::string::npos) << message;
  EXPECT_EQ(train(config, {.folder = run, .accept_changes = true}), Ending::done);
}

TEST_F(TrainerTest, TwoProcessesCannotShareARun) {
  const RunConfig config = toy_run(folder_.path(), 4);
  const std::filesystem::path run = folder_.path() / "run";
  std::filesystem::create_directories(run);
  const FolderLock other(run);
  const pid_t child = fork();
  if (child == 0) {
    try {
      train(config, {.folder = run});
      _exit(0);
    } catch (const UserError&) {
      _exit(2);
    }
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 2);
}

TEST_F(TrainerTest, DamagedNewestCheckpointFallsBackToTheOneBefore) {
  RunConfig config = toy_run(folder_.path(), 6);
  config.data.valid.clear();
  const std::filesystem::path run = folder_.path() / "run";
  train(config, {.folder = run});
  const auto expected = last_tensors(run);
  const std::filesystem::path newest = run / "checkpoints" / "step-00000006" / "optimizer.safetensors";
  std::filesystem::resize_file(newest, std::filesystem::file_size(newest) / 2);
  EXPECT_EQ(train(config, {.folder = run}), Ending::done);
  EXPECT_EQ(last_tensors(run), expected);
}

TEST_F(TrainerTest, SettingsThatContradictAreRefused) {
  RunConfig config = toy_run(folder_.path(), 4);
  config.data.max_length = 64;
  EXPECT_THROW(train(config, {.folder = folder_.path() / "run"}), UserError);
  config = toy_run(folder_.path(), 4);
  config.validation.criterion = Criterion::bleu;
  EXPECT_THROW(train(config, {.folder = folder_.path() / "run"}), UserError);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "run"));
}

TEST_F(TrainerTest, EarlyStopping) {
  RunConfig config = toy_run(folder_.path(), 100);
  config.optim.learning_rate = 0;  // never better than at first
  config.validation.every = 2;
  config.validation.patience = 3;
  EXPECT_EQ(train(config, {.folder = folder_.path() / "run"}), Ending::no_better);
  EXPECT_EQ(last_tensors(folder_.path() / "run").at("step"), "8");
}

TEST_F(TrainerTest, GradientsThatAreNotFiniteAreSkippedThenRefused) {
  RunConfig config = toy_run(folder_.path(), 50);
  config.optim.learning_rate = 1e30;
  config.optim.warmup = {.count = 1};
  config.optim.clip_norm = 0;
  config.train.skip_limit = 3;
  const std::string message = message_of<Error>([&] { train(config, {.folder = folder_.path() / "run"}); });
  EXPECT_NE(message.find("no finite gradient"), std::string::npos) << message;
}

}  // namespace
}  // namespace chorus
