// Runs whose updates are computed on the device of the suite.
#include <fstream>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "suite_device.h"
#include "temporary_folder.h"
#include "toy_run.h"
#include "train/trainer.h"

namespace chorus {
namespace {

class Training : public testing::Test {
 protected:
  void SetUp() override { console().set_quiet(true); }
  [[nodiscard]] RunConfig run_of(int64_t updates) const {
    RunConfig config = toy_run(folder_.path(), updates);
    config.device = at::DeviceTypeName(suite_device().type(), /*lower_case=*/true);
    return config;
  }
  TemporaryFolder folder_;
};

std::vector<nlohmann::json> records_of(const std::filesystem::path& run) {
  std::ifstream file(run / "metrics.jsonl");
  std::vector<nlohmann::json> records;
  for (std::string line; std::getline(file, line);) records.push_back(nlohmann::json::parse(line));
  return records;
}

TEST_F(Training, TasksAndCurriculaResumeToTheBit) {
  if (!repeats_bits()) GTEST_SKIP();
  RunConfig config = run_of(14);
  config.data.denoise = {{.noise = {.mask = 0.5, .span = 1}},
                         {.name = "order", .weight = 0, .noise = {.mask = 0, .drop = 0, .shuffle = 2}}};
  config.data.curriculum = {{.update = 6, .weights = {"order=2", "denoise=0"}}};
  config.data.source_sampling = config.data.target_sampling = 0.3;
  config.train.log_every = 1;
  const std::filesystem::path whole = folder_.path() / "whole", parts = folder_.path() / "parts";
  train_run(config, {.folder = whole});
  for (const int64_t updates : {4, 6, 9, 14}) {
    config.train.duration.count = updates;
    train_run(config, {.folder = parts});
  }
  const auto expected = last_tensors(whole), actual = last_tensors(parts);
  for (const auto& [name, bytes] : expected) EXPECT_TRUE(actual.at(name) == bytes) << name;
  for (const nlohmann::json& record : records_of(whole)) {
    const auto update = record["update"].get<int64_t>();
    const nlohmann::json& tasks = record["tasks"];
    if (record["kind"] == "validation") {
      EXPECT_EQ(tasks.size(), 3U);
      EXPECT_EQ(record["directions"].size(), 6U);
      EXPECT_EQ(record["directions"]["order:xx"]["task"], "order");
      EXPECT_EQ(record["loss"], tasks["translation"]["loss"]);
      continue;
    }
    EXPECT_EQ(tasks.contains("denoise"), update <= 6) << update;
    EXPECT_EQ(tasks.contains("order"), update > 6) << update;
    double nll = 0, tokens = 0;
    for (const auto& task : tasks) {
      nll += task["nll"].get<double>() * task["tokens"].get<double>();
      tokens += task["tokens"].get<double>();
    }
    EXPECT_NEAR(nll / tokens, record["nll"].get<double>(), 1e-5);
  }
}

/// The tensors of two runs' last checkpoints that are the same.
std::set<std::string> same_tensors(const std::filesystem::path& a, const std::filesystem::path& b) {
  const auto x = last_tensors(a), y = last_tensors(b);
  std::set<std::string> same;
  for (const auto& [name, bytes] : x) {
    if (y.contains(name) && y.at(name) == bytes) same.insert(name);
  }
  return same;
}

TEST_F(Training, FrozenParametersStayAsTheyAre) {
  RunConfig config = run_of(0);
  const std::filesystem::path initial = folder_.path() / "initial", run = folder_.path() / "run";
  train_run(config, {.folder = initial});
  config.train.duration.count = 4;
  config.train.log_every = 1;
  config.optim.weight_decay = 0.1;
  config.train.freeze = {"embedding", "expert", "encoder.*"};
  train_run(config, {.folder = run});
  const auto same = same_tensors(initial, run);
  for (const auto& [name, bytes] : last_tensors(run)) {
    const bool frozen = name.find("shared") != name.npos || name.find(".experts.") != name.npos ||
                        name.find("model.encoder.") != name.npos;
    EXPECT_TRUE(name == "step" || same.contains(name) == frozen) << name;
  }
  // The norm is that of what is trained.
  const double norm = records_of(run)[0]["gradient_norm"];
  config.train.freeze.clear();
  train_run(config, {.folder = folder_.path() / "free"});
  EXPECT_LT(norm, 0.95 * records_of(folder_.path() / "free")[0]["gradient_norm"].get<double>());
  for (const char* wrong : {"encoder", "nothing.*"}) {
    config.train.freeze = {wrong};
    EXPECT_THROW(train_run(config, {.folder = folder_.path() / "wrong"}), UserError) << wrong;
  }
  config.train.freeze = {"dense", "expert"};
  EXPECT_THROW(train_run(config, {.folder = folder_.path() / "all"}), UserError);
}

TEST_F(Training, LearnsAndKeepsTheBestModel) {
  RunConfig config = run_of(suite_device().is_cpu() ? 60 : 30);
  config.validation.decode = 5;
  const std::filesystem::path run = folder_.path() / "run";
  EXPECT_EQ(train_run(config, {.folder = run}), Ending::done);
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

TEST_F(Training, AccumulationDoesNotDependOnRecomputation) {
  if (!repeats_bits()) GTEST_SKIP();
  RunConfig config = run_of(6);
  config.data.valid.clear();
  train_run(config, {.folder = folder_.path() / "kept"});
  config.train.recompute = true;
  train_run(config, {.folder = folder_.path() / "again"});
  EXPECT_EQ(last_tensors(folder_.path() / "kept"), last_tensors(folder_.path() / "again"));
}

TEST_F(Training, GradientsThatAreNotFiniteAreSkippedThenRefused) {
  RunConfig config = run_of(50);
  config.optim.learning_rate = 1e30;
  config.optim.warmup = {.count = 1};
  config.optim.clip_norm = 0;
  config.train.skip_limit = 3;
  const std::string message =
      message_of<Error>([&] { train_run(config, {.folder = folder_.path() / "run"}); });
  EXPECT_NE(message.find("no finite gradient"), std::string::npos) << message;
}

}  // namespace
}  // namespace chorus
