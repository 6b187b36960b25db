#include "chorus/train/stages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/log.h"
#include "chorus/model/folder.h"

#include "temporary_folder.h"
#include "toy_run.h"

namespace chorus {
namespace {

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
}

TEST_F(StagesTest, AStageBeginsWithTheModelOfOneBefore) {
  RunConfig config = toy_run(folder_.path(), 3);
  config.train.stages = {{.name = "base"}, {.name = "copy", .init = {"base"}, .set = {"train.duration=0u"}}};
  train_stages(config, {.folder = folder_.path() / "run"});
  const std::filesystem::path weights = std::filesystem::path("model") / "model.safetensors";
  EXPECT_EQ(hash_file(folder_.path() / "run" / "base" / weights),
            hash_file(folder_.path() / "run" / "copy" / weights));
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
