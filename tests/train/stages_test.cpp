#include "train/stages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "formats/folder.h"
#include "io/files.h"
#include "temporary_folder.h"
#include "toy_run.h"

namespace chorus {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class StagesTest : public testing::Test {
 protected:
  void SetUp() override { console().set_quiet(true); }

  std::string refusal(std::vector<StageConfig> stages) {
    RunConfig config = toy_run(folder_.path(), 2);
    config.train.stages = std::move(stages);
    try {
      train_stages(config, {.folder = folder_.path() / "run"});
    } catch (const UserError& error) {
      return error.what();
    }
    return "no refusal";
  }
  TemporaryFolder folder_;
};

TEST_F(StagesTest, ThePlanOfAStageIsOfTheModelThatItBeginsWith) {
  RunConfig base = toy_run(folder_.path(), 1);
  base.model.moe.experts = 8;
  train_run(base, {.folder = folder_.path() / "base"});
  RunConfig config = toy_run(folder_.path(), 1);
  config.train.stages = {
      {.name = "a"},
      {.name = "b", .set = {"train.init=" + (folder_.path() / "base").string(), "model.dropout=0.25"}}};
  const std::vector<RunConfig> settings = stage_settings(config);
  EXPECT_EQ(settings[0].model.moe.experts, 4);
  EXPECT_EQ(settings[1].model.moe.experts, 8);
  EXPECT_EQ(settings[1].model.dropout, 0.25);
}

TEST_F(StagesTest, TrainSmallMergeGoOn) {
  RunConfig config = toy_run(folder_.path(), 4);
  config.train.stages = {
      {.name = "a"},
      {.name = "b", .set = {"seed=2"}},
      {.name = "large", .init = {"a", "b"}, .set = {"moe.experts=8", "train.duration=2u"}}};
  const std::filesystem::path run = folder_.path() / "run";
  EXPECT_EQ(train_stages(config, {.folder = run}), Ending::done);
  EXPECT_EQ(last_run(config, run), run / "large");
  EXPECT_EQ(describe_model(run / "a" / "model").config.moe.experts, 4);
  EXPECT_EQ(describe_model(run / "large" / "model").config.moe.experts, 8);
  EXPECT_EQ(describe_model(run / "large" / "model").config.directions,
            describe_model(run / "a" / "model").config.directions);
  EXPECT_EQ(last_tensors(run / "large").at("step"), "2");

  // Whatever is there already is not made again; a stage that is not goes on from those before.
  const uint64_t merged = hash_file(run / "large.init" / "model.safetensors");
  const auto whole = last_tensors(run / "large");
  std::filesystem::remove_all(run / "large");
  EXPECT_EQ(train_stages(config, {.folder = run}), Ending::done);
  EXPECT_EQ(hash_file(run / "large.init" / "model.safetensors"), merged);
  EXPECT_EQ(last_tensors(run / "large"), whole);
  EXPECT_EQ(last_tensors(run / "b").at("step"), "4");

  // What a stage that has not begun is merged of is what those before have become.
  std::filesystem::remove_all(run / "large");
  config.train.stages[0].set = {"train.duration=6u"};
  EXPECT_EQ(train_stages(config, {.folder = run}), Ending::done);
  EXPECT_NE(hash_file(run / "large.init" / "model.safetensors"), merged);

  // The folder may be named otherwise, and moved.
  EXPECT_EQ(train_stages(config, {.folder = std::filesystem::relative(run)}), Ending::done);
  std::filesystem::rename(run, folder_.path() / "moved");
  EXPECT_EQ(train_stages(config, {.folder = folder_.path() / "moved"}), Ending::done);
}

TEST_F(StagesTest, ASignalAsAStageEndsIsNotLost) {
  RunConfig config = toy_run(folder_.path(), 3);
  config.train.stages = {{.name = "a"}, {.name = "b"}};
  const RunOptions options = {.folder = folder_.path() / "run",
                              .on_record = [](const nlohmann::json& record) {
                                if (record.at("kind") == "validation") std::raise(SIGTERM);
                              }};
  EXPECT_EQ(train_stages(config, options), Ending::terminated);
  EXPECT_EQ(last_tensors(options.folder / "a").at("step"), "3");
  EXPECT_FALSE(std::filesystem::exists(options.folder / "b" / "checkpoints"));
}

TEST_F(StagesTest, AStageBeginsWithTheModelOfOneBefore) {
  RunConfig config = toy_run(folder_.path(), 3);
  config.train.stages = {{.name = "base"}, {.name = "copy", .init = {"base"}, .set = {"train.duration=0u"}}};
  train_stages(config, {.folder = folder_.path() / "run"});
  const std::filesystem::path weights = std::filesystem::path("model") / "model.safetensors";
  EXPECT_EQ(hash_file(folder_.path() / "run" / "base" / weights),
            hash_file(folder_.path() / "run" / "copy" / weights));
}

TEST_F(StagesTest, DenseModelsFollowEachOther) {
  RunConfig config = toy_run(folder_.path(), 1);
  config.model.moe = {};
  config.train.stages = {{.name = "a"}, {.name = "b", .init = {"a"}}};
  EXPECT_EQ(train_stages(config, {.folder = folder_.path() / "run"}), Ending::done);
  EXPECT_TRUE(describe_model(folder_.path() / "run" / "b" / "model").config.expert_counts().empty());
}

TEST_F(StagesTest, EveryStageIsLookedAtAsARunBeforeTheFirstTrains) {
  const auto late = [&](std::vector<StageConfig> stages, const char* why) {
    EXPECT_THAT(refusal(std::move(stages)), AllOf(HasSubstr("train.stage late: "), HasSubstr(why)));
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "run" / "a" / "checkpoints")) << why;
  };
  const StageConfig a = {.name = "a"}, b = {.name = "b", .set = {"seed=2"}};
  late({a, {.name = "late", .set = {"data.train.0.files=no.{lang}"}}}, "no.xx");
  late({a, {.name = "late", .set = {"data.batch_tokens=8"}}}, "batch_tokens");
  late({a, {.name = "late", .set = {"parallel.ep=3"}}}, "parallel.ep");
  late({a, {.name = "late", .set = {"vocabulary.size=3000", "vocabulary.model=\"\""}}}, "set it to");
  late({a, {.name = "late", .init = {"a"}, .set = {"moe.experts=8"}}}, "moe.experts = 8");
  late({a, b, {.name = "late", .init = {"a", "b"}, .set = {"moe.experts=4"}}}, "moe.experts = 4");
  late({a, b, {.name = "late", .init = {"a", "b"}, .set = {"model.max_positions=16"}}}, "max_positions");
  late({a, {.name = "c", .set = {"model.d_model=32"}}, {.name = "late", .init = {"a", "c"}}}, "d_model");
  late({a,
        {.name = "c", .set = {"vocabulary.size=280", "vocabulary.model=\"\""}},
        {.name = "late", .init = {"a", "c"}}},
       "different vocabularies");
  RunConfig config = toy_run(folder_.path(), 2);
  train_run(config, {.folder = folder_.path() / "run" / "late"});
  late({a, {.name = "late", .set = {"optim.beta1=0.8"}}}, "other settings");
}

TEST_F(StagesTest, RefusesWhatContradictsItself) {
  EXPECT_THAT(refusal({{.name = "a/b"}}), HasSubstr("\"a/b\" is no name for a stage"));
  EXPECT_THAT(refusal({{.name = ""}}), HasSubstr("\"\" is no name for a stage"));
  EXPECT_THAT(refusal({{.name = "a"}, {.name = "a"}}), HasSubstr("two stages are called a"));
  EXPECT_THAT(refusal({{.name = "a", .init = {"b"}}, {.name = "b"}}),
              HasSubstr("train.stage a: init names \"b\", which is no stage before it; these are: none"));
  EXPECT_THAT(refusal({{.name = "a"}, {.name = "b", .set = {"moe.expert=8"}}}), HasSubstr("train.stage b: "));
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "run"));
}

}  // namespace
}  // namespace chorus
