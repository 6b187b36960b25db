// Models whose vocabulary has no languages, as Switch's: their text says itself what is wanted, and names of languages
// only tell its files apart.
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/log.h"
#include "data/direction_text.h"
#include "data/t5_model.h"
#include "formats/folder.h"
#include "io/files.h"
#include "model/fixtures.h"
#include "surgery/prune.h"
#include "surgery/usage.h"
#include "temporary_folder.h"
#include "toy_run.h"
#include "train/assessment.h"

namespace chorus {
namespace {

class WithoutLanguages : public testing::Test {
 protected:
  void SetUp() override {
    console().set_quiet(true);
    write_file_atomically(folder_ / "spiece.model", t5_model());
    const Vocabulary vocabulary = Vocabulary::load(folder_ / "spiece.model", {.extra_ids = 3});
    ModelConfig config = switch_config();
    config.vocabulary = vocabulary.size();
    Transformer model(config, {});
    at::manual_seed(3);
    for (size_t i = 0; i < model.parameters().size(); ++i)
      model.set(i, at::randn(model.catalogue().parameters[i].shape) * 0.1);
    save_model(model_, {.config = config,
                        .catalogue = model.catalogue(),
                        .weights = [&model](size_t i) { return model.parameters()[i].value; },
                        .vocabulary = vocabulary});
    config_ = toy_run(folder_.path(), 6);
    config_.train.init = model_.string();
    config_.model = model_of(config_.train.init);
    config_.vocabulary = {};
    config_.validation.decode = 3;
  }
  std::vector<DirectionText> text() const { return read_directions(config_.data.valid, 10, {}); }

  TemporaryFolder folder_;
  std::filesystem::path model_ = folder_ / "model";
  RunConfig config_;
};

TEST_F(WithoutLanguages, AreTrainedOnBothDirectionsOfAText) {
  std::map<std::string, double> losses;
  config_.validation.every = 3;
  const std::filesystem::path run = folder_ / "run";
  const auto note = [&](const nlohmann::json& record) {
    if (record["kind"] == "validation")
      for (const auto& [name, direction] : record["directions"].items()) losses[name] = direction["loss"];
  };
  EXPECT_EQ(train_run(config_, {.folder = run, .on_record = note}), Ending::done);
  EXPECT_EQ(losses.size(), 2U);
  EXPECT_TRUE(losses.contains("xx-yy") && losses.contains("yy-xx"));
  EXPECT_EQ(last_tensors(run).at("step"), "6");
}

TEST_F(WithoutLanguages, GetNoTag) {
  config_.vocabulary.add = {"xx"};
  EXPECT_THROW(train_run(config_, {.folder = folder_ / "tagged"}), UserError);
}

TEST_F(WithoutLanguages, AreAssessedAndPrunedByWhatATextUses) {
  const LoadedModel loaded = load_model(model_, {});
  const Assessment assessment = assess(*loaded.model, loaded.vocabulary, text(), {.load = true});
  ASSERT_EQ(assessment.directions.size(), 2U);
  EXPECT_EQ(assessment.directions[0].name, "xx-yy");
  EXPECT_EQ(assessment.directions[0].sentences, 10);
  ASSERT_FALSE(assessment.load.empty());
  EXPECT_GT(assessment.load[0].tokens, 0);
  EXPECT_TRUE(assessment.load[0].by_group.empty());

  const std::vector<ExpertUsage> usage = measure_usage(*loaded.model, loaded.vocabulary, text(), {});
  ASSERT_EQ(usage.size(), assessment.load.size());
  EXPECT_GT(usage[0].tokens, 0);
  const PruneReport report = prune_model(model_, usage, {.keep = 0.5}, folder_ / "pruned");
  EXPECT_EQ(report.layers[0].kept.size(), 2U);
  EXPECT_FALSE(to_text(report).empty());
  const LoadedModel pruned = load_model(folder_ / "pruned", {});
  EXPECT_EQ(pruned.model->config().expert_counts().front(), 2);
}

}  // namespace
}  // namespace chorus
