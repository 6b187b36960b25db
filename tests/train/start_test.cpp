// Starts of runs: what fails changes nothing, what is done stays done.
#include <fstream>

#include <ATen/ops/equal.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "corpus/vocabulary_training.h"
#include "data/vocabulary.h"
#include "formats/folder.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "temporary_folder.h"
#include "toy_run.h"
#include "train/stages.h"

namespace chorus {
namespace {
namespace fs = std::filesystem;
using testing::HasSubstr;

/// Every file below a folder, with its time and its bytes.
std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file() || entry.path().filename() == ".lock") continue;
    files[entry.path().string()] =
        std::to_string(entry.last_write_time().time_since_epoch().count()) + read_file(entry.path());
  }
  return files;
}

class StartTest : public testing::Test {
 protected:
  void SetUp() override {
    console().set_quiet(true);
    config_ = toy_run(folder_.path(), 3);
    config_.vocabulary.model.clear();  // the run's own
  }
  std::string refusal(const RunConfig& config, bool accept = false) {
    return message_of<UserError>([&] { train_run(config, {.folder = run_, .accept_changes = accept}); });
  }
  TemporaryFolder folder_;
  fs::path run_ = folder_ / "run";
  RunConfig config_;
};

TEST_F(StartTest, AStartThatFailsDoesNotBindTheNext) {
  const auto fails = [&](auto change, const char* why) {
    RunConfig wrong = config_;
    change(wrong);
    EXPECT_THAT(refusal(wrong), HasSubstr(why));
    EXPECT_FALSE(fs::exists(run_ / "run.toml")) << why;
  };
  fails([](RunConfig& c) { c.vocabulary.size = 3000; }, "set it to");
  EXPECT_FALSE(fs::exists(run_)) << "nothing came to lie in it";
  fails([](RunConfig& c) { c.data.train[0].files += ".gz"; }, "cannot read");
  fails([](RunConfig& c) { c.data.valid[0].files += ".gz"; }, "cannot read");
  fails([](RunConfig& c) { c.data.batch_tokens = 8; }, "batch_tokens");
  fails([](RunConfig& c) { c.model.attention_heads = 3; }, "attention_heads");
  fails([](RunConfig& c) { c.parallel.tp = 2; }, "parallel.tp");
  fails([](RunConfig& c) { c.memory.device_budget = "1KiB"; }, "memory.device_budget");
  fails([](RunConfig& c) { c.train.freeze = {"nothing.*"}; }, "nothing.*");
  fails(
      [](RunConfig& c) {
        c.optim.schedule = Schedule::cosine;
        c.train.duration = {.count = 1, .unit = Duration::Unit::epochs};
      },
      "optim.warmup");
  // What these left is of their settings: it is made anew for others, and taken where it fits.
  EXPECT_EQ(Vocabulary::load(run_ / "sentencepiece.bpe.model").size(), 290);
  config_.vocabulary.size = 280;
  train_run(config_, {.folder = run_});
  EXPECT_EQ(describe_model(run_ / "model").vocabulary.size(), 280);
  const auto alone = folder_ / "alone";
  train_run(config_, {.folder = alone});
  EXPECT_EQ(last_tensors(run_), last_tensors(alone));
}

TEST_F(StartTest, AModelsFolderIsNoRun) {
  train_run(config_, {.folder = run_});
  const auto before = contents(run_);
  config_.vocabulary.size = 280;
  EXPECT_THAT(message_of<UserError>([&] { train_run(config_, {.folder = run_ / "model"}); }),
              HasSubstr("is a model's folder: name another --out"));
  EXPECT_EQ(contents(run_), before);
  config_.vocabulary.size = 290;
  config_.data.store = run_.string() + "/";
  EXPECT_THAT(refusal(config_, true), HasSubstr("is the run's own folder"));
}

TEST_F(StartTest, APairOfRunsMayMove) {
  const fs::path place = folder_ / "w", moved = folder_ / "moved";
  train_run(config_, {.folder = place / "a"});
  config_.train.init = (place / "a").string() + "/";
  train_run(config_, {.folder = place / "b" / ""});
  fs::rename(place, moved);
  config_.train.init = (moved / "a").string() + "/";
  EXPECT_EQ(train_run(config_, {.folder = moved / "b" / ""}), Ending::done);
}

TEST_F(StartTest, ValidationHasRoomInTheBatches) {
  config_.data.max_length = config_.model.max_positions = 200;
  std::ofstream(folder_ / "valid.xx", std::ios::app) << std::string(150, 'q') << "\n";
  std::ofstream(folder_ / "valid.yy", std::ios::app) << "omega\n";
  EXPECT_THAT(refusal(config_), HasSubstr("data.batch_tokens = 128 has no room for the longest sentence"));
  config_.data.batch_tokens = 256;
  EXPECT_EQ(train_run(config_, {.folder = run_}), Ending::done);
}

TEST_F(StartTest, AValidationThatFailsLosesNoUpdate) {
  config_.validation.every = 2;
  config_.validation.decode = 3;
  config_.train.checkpoint_every = 100;
  const fs::path alone = folder_ / "alone";
  train_run(config_, {.folder = alone});
  fs::create_directories(run_ / "translations.json" / "in the way");
  EXPECT_THROW(train_run(config_, {.folder = run_}), Error);
  EXPECT_EQ(last_tensors(run_).at("step"), "2");
  EXPECT_THROW(train_run(config_, {.folder = run_}), Error) << "it begins with the validation";
  EXPECT_EQ(last_tensors(run_).at("step"), "2");
  fs::remove_all(run_ / "translations.json");
  EXPECT_EQ(train_run(config_, {.folder = run_}), Ending::done);
  EXPECT_EQ(last_tensors(run_), last_tensors(alone));
  const auto validated = [](const fs::path& run) {
    std::vector<nlohmann::json> records;
    std::ifstream lines(run / "metrics.jsonl");
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json record = nlohmann::json::parse(line);
      if (record["kind"] == "validation")
        records.push_back({record["update"], record["loss"], record["best"]});
    }
    return records;
  };
  EXPECT_EQ(validated(run_), validated(alone));
}

TEST_F(StartTest, ValidationTranslatesTheTextOfItsStart) {
  config_.validation.every = 1;
  config_.validation.decode = 3;
  int64_t told = 0;
  train_run(config_, {.folder = run_, .on_record = [&](const nlohmann::json& record) {
                        if (record["kind"] == "validation" && told++ == 0) fs::remove(folder_ / "valid.yy");
                      }});
  EXPECT_EQ(told, 3);
}

TEST_F(StartTest, AVocabularyThatTheRunDidNotMakeStays) {
  fs::create_directories(run_);
  train_vocabulary(config_.data.train, {.size = 285}, run_ / "sentencepiece.bpe.model");
  train_run(config_, {.folder = run_});
  EXPECT_EQ(describe_model(run_ / "model").vocabulary.size(), 285);
}

TEST_F(StartTest, ATagBeginsAsOneThatIsThere) {
  config_.vocabulary.add = {"zz=qq"};
  EXPECT_THAT(refusal(config_), HasSubstr("\"zz=qq\": there is no language 'qq'"));
  config_.vocabulary.add = {"zz=xx"};
  EXPECT_EQ(train_run(config_, {.folder = run_}), Ending::done);
}

TEST_F(StartTest, WhatCannotChangeIsRefusedBeforeAnythingIsWritten) {
  train_run(config_, {.folder = run_});
  const auto before = contents(run_), tensors = last_tensors(run_);
  const auto refused = [&](auto change, const std::vector<const char*>& words) {
    RunConfig other = config_;
    change(other);
    other.train.duration.count = 5;
    const std::string message = refusal(other, true);
    for (const char* word : words) EXPECT_THAT(message, HasSubstr(word));
    EXPECT_EQ(contents(run_), before);
  };
  const std::string init = "train.init = \"" + run_.string() + "\"";
  refused([](RunConfig& c) { c.model.d_model = 32; }, {"model.d_model 16 -> 32", init.c_str()});
  refused([](RunConfig& c) { c.model.moe.experts = 8; }, {"moe.experts 4 -> 8", "chorus grow"});
  refused([](RunConfig& c) { c.vocabulary.size = 280; }, {"vocabulary.size 290 -> 280", init.c_str()});
  refused([](RunConfig& c) { c.vocabulary.add = {"zz"}; }, {"vocabulary.add", init.c_str()});
  refused([](RunConfig& c) { c.data.denoise = {{}}; }, {"another vocabulary", init.c_str()});
  refused(
      [&](RunConfig& c) {
        fs::copy(folder_ / "train.yy", folder_ / "train.zz");
        c.data.train[0].languages = {"xx", "zz"};
      },
      {"no language 'zz'", "vocabulary.add = [\"zz\"]", init.c_str()});
  const fs::path other = folder_ / "other.model";
  train_vocabulary(config_.data.train, {.size = 285}, other);
  refused([&](RunConfig& c) { c.vocabulary.model = other.string(); }, {"another vocabulary", init.c_str()});
  // The line it was started with goes on, and the same vocabulary may lie elsewhere.
  config_.train.duration.count = 4;
  train_run(config_, {.folder = run_});
  EXPECT_EQ(last_tensors(run_).at("step"), "4");
  fs::copy(run_ / "sentencepiece.bpe.model", folder_ / "same.model");
  config_.vocabulary.model = (folder_ / "same.model").string();
  config_.train.duration.count = 5;
  train_run(config_, {.folder = run_, .accept_changes = true});
  EXPECT_EQ(last_tensors(run_).at("step"), "5");
}

TEST_F(StartTest, ARunThatIsDoneDoesNothing) {
  for (const bool valid : {true, false}) {
    if (!valid) config_.data.valid.clear();
    for (const int64_t updates : {0, 3, 4}) {  // of which a checkpoint is due at 3
      const fs::path run = folder_ / fmt::format("{}-{}", valid, updates);
      config_.train.duration.count = updates;
      EXPECT_EQ(train_run(config_, {.folder = run}), Ending::done);
      const auto before = contents(run);
      EXPECT_EQ(train_run(config_, {.folder = run}), Ending::done);
      EXPECT_EQ(contents(run), before) << run;
    }
  }
}

TEST_F(StartTest, AKillBeforeTheBestIsMarkedLosesNothing) {
  config_.validation.every = 1;
  config_.train.keep = 1;
  config_.train.duration.count = 6;
  config_.optim.learning_rate = 2e-2;
  train_run(config_, {.folder = run_});
  // As after a kill between the checkpoint and best.json.
  CheckpointStore store(run_);
  const int64_t best = *store.best();
  for (const bool there : {false, true}) {
    const fs::path json = run_ / "checkpoints" / "best.json";
    fs::remove(json);
    if (there) std::ofstream(json) << "{}";  // or damaged
    train_run(config_, {.folder = run_});
    EXPECT_EQ(store.best(), best);
  }
  // It stays when others are written.
  config_.optim.learning_rate = 0.9;  // never better from here on
  config_.train.duration.count = 9;
  fs::remove(run_ / "checkpoints" / "best.json");
  train_run(config_, {.folder = run_, .accept_changes = true});
  EXPECT_THAT(store.steps(), testing::ElementsAre(best, 9));
  EXPECT_EQ(store.best(), best);
}

TEST_F(StartTest, WhatIsNotFiniteIsNeverBestNorWritten) {
  config_.optim.warmup = {.count = 1};
  config_.optim.clip_norm = 0;
  config_.validation.every = 1;
  // Weights that are finite and give no finite loss.
  config_.optim.learning_rate = 1e30;
  config_.train.duration.count = 2;
  EXPECT_THAT(message_of<Error>([&] { train_run(config_, {.folder = run_}); }),
              HasSubstr("no validation gave a finite loss"));
  EXPECT_FALSE(fs::exists(run_ / "model"));
  EXPECT_FALSE(CheckpointStore(run_).best());
  // Weights that are not finite.
  config_.optim.learning_rate = 1e39;
  const fs::path infinite = folder_ / "infinite";
  const std::string message = message_of<Error>([&] { train_run(config_, {.folder = infinite}); });
  EXPECT_THAT(message, HasSubstr("weights that are no longer finite"));
  EXPECT_FALSE(fs::exists(infinite / "model"));
  EXPECT_TRUE(CheckpointStore(infinite).steps().empty());
}

TEST_F(StartTest, ARunIsAModelFromItsFirstCheckpointOn) {
  config_.train.duration.count = 4;
  train_run(config_, {.folder = run_});
  const auto same = [](const LoadedModel& a, const LoadedModel& b) {
    for (size_t i = 0; i < a.model->parameters().size(); ++i)
      EXPECT_TRUE(at::equal(a.model->parameters()[i].value, b.model->parameters()[i].value));
    EXPECT_EQ(a.vocabulary.hash(), b.vocabulary.hash());
  };
  const LoadedModel best = load_model(run_, {});
  same(best, load_model(run_ / "checkpoints" / "step-00000004", {}));
  fs::remove_all(run_ / "model");
  same(best, load_model(run_, {}));
  config_.train.init = run_.string();
  config_.model = model_of(config_.train.init);
  config_.train.duration.count = 0;
  train_run(config_, {.folder = folder_ / "tuned"});
  same(best, load_model(folder_ / "tuned", {}));
}

TEST_F(StartTest, NumbersBeyondTheirRangeAreRefused) {
  RunConfig config;
  Schema schema;
  describe(schema, config);
  int numbers = 0;
  for (const Schema::Section& section : schema.sections()) {
    for (const Schema::Option& option : section.options) {
      const bool real = std::holds_alternative<double*>(option.target);
      if (!real && !std::holds_alternative<int64_t*>(option.target)) continue;
      ++numbers;
      const std::string name = section.name.empty() ? option.key : section.name + "." + option.key;
      for (const char* value : {"-1", "nan", "inf", "-inf", "1e999"})
        EXPECT_THROW(schema.set(name + "=" + value), UserError) << name << " = " << value;
      if (real) {
        EXPECT_LT(option.about.max, 1e31) << name;
      }
    }
  }
  EXPECT_GT(numbers, 50);
  for (const char* wrong : {"optim.beta1=1", "optim.beta2=1", "optim.epsilon=0", "optim.learning_rate=1e9",
                            "moe.capacity_factor=1e300", "train.label_smoothing=1", "model.dropout=1"})
    EXPECT_THROW(schema.set(wrong), UserError) << wrong;
  for (const char* right :
       {"optim.beta1=0", "optim.beta2=0.999", "optim.learning_rate=0", "moe.capacity_factor=0"})
    EXPECT_NO_THROW(schema.set(right)) << right;
}

}  // namespace
}  // namespace chorus
