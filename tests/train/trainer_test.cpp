#include "train/trainer.h"

#include <cstring>
#include <fstream>
#include <sstream>

#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "data/vocabulary.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/safetensors.h"
#include "kernels/quantized.h"
#include "layout/catalogue.h"
#include "surgery/models.h"
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
  EXPECT_EQ(train_run(config, {.folder = whole}), Ending::done);
  const auto expected = last_tensors(whole), actual = last_tensors(killed);
  EXPECT_EQ(expected.at("step"), "20");
  ASSERT_EQ(actual.size(), expected.size());
  for (const auto& [name, bytes] : expected) {
    EXPECT_TRUE(actual.at(name) == bytes) << name << " differs after " << kills << " kills";
  }
  EXPECT_GT(kills, 0);
}

TEST_F(TrainerTest, ARunBeginsWithTheModelOfAnother) {
  RunConfig config = toy_run(folder_.path(), 6);
  const std::filesystem::path base = folder_.path() / "base";
  train_run(config, {.folder = base});
  // The run file need not repeat the architecture; a checkpoint serves as well as the run.
  RunConfig tuned = config;
  tuned.model = model_of(base.string());
  tuned.model.moe.jitter = 0.2;
  tuned.vocabulary.model.clear();
  tuned.train.duration.count = 0;
  std::vector<std::string> complaints;
  const std::filesystem::path checkpoint = CheckpointStore(base).latest_valid(complaints)->folder;
  for (const auto& [name, init] : {std::pair{"run", base}, {"checkpoint", checkpoint}}) {
    tuned.train.init = init.string();
    const std::filesystem::path run = folder_.path() / name;
    train_run(tuned, {.folder = run});
    const auto expected = last_tensors(base), actual = last_tensors(run);
    for (const auto& [tensor, bytes] : expected) {
      EXPECT_TRUE(!tensor.starts_with("model.") || actual.at(tensor) == bytes) << name << " " << tensor;
    }
  }
  tuned.model.d_model = 32;
  EXPECT_THROW(train_run(tuned, {.folder = folder_.path() / "wide"}), UserError);
  tuned.model.d_model = config.model.d_model;
  tuned.train.init = (folder_.path() / "nothing").string();
  EXPECT_THROW(train_run(tuned, {.folder = folder_.path() / "lost"}), UserError);

  // A language, a task and a symbol more: old rows stay, new ones begin as a tag or as a mean.
  std::filesystem::copy(folder_.path() / "train.yy", folder_.path() / "train.zz");
  tuned.train.init = base.string();
  tuned.data.train[0].languages = {"xx", "zz"};
  tuned.data.denoise = {{}};
  tuned.vocabulary.add = {"zz=yy", "ww"};
  tuned.vocabulary.symbols = {"<bt>"};
  const std::filesystem::path more = folder_.path() / "more";
  train_run(tuned, {.folder = more});
  const auto rows = [](const std::filesystem::path& run) {
    const std::string bytes = last_tensors(run).at("model.shared.weight");
    constexpr size_t kRow = 16 * sizeof(float);
    std::vector<std::vector<float>> all(bytes.size() / kRow, std::vector<float>(16));
    for (size_t r = 0; r < all.size(); ++r) std::memcpy(all[r].data(), bytes.data() + r * kRow, kRow);
    return all;
  };
  const auto before = rows(base), after = rows(more);
  ASSERT_EQ(after.size(), before.size() + 5);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
  const Vocabulary vocabulary = Vocabulary::load(config.vocabulary.model);
  const auto &xx = before[static_cast<size_t>(vocabulary.tag("xx"))],
             &yy = before[static_cast<size_t>(vocabulary.tag("yy"))];
  EXPECT_EQ(after[before.size()], yy);
  for (size_t i = 0; i < 16; ++i) {
    EXPECT_FLOAT_EQ(after[before.size() + 1][i], (xx[i] + yy[i]) / 2);
    EXPECT_FLOAT_EQ(after[before.size() + 3][i], (xx[i] + yy[i]) / 2);
    double sum = 0;
    for (const std::vector<float>& row : before) sum += row[i];
    EXPECT_NEAR(after[before.size() + 4][i], sum / static_cast<double>(before.size()), 1e-6);
  }
  tuned.train.duration.count = 2;
  EXPECT_EQ(train_run(tuned, {.folder = more}), Ending::done);
  EXPECT_EQ(describe_model(find_model(more).description).vocabulary.symbols_in_text(),
            tuned.vocabulary.symbols);
}

TEST_F(TrainerTest, ARunBeginsWithWhatQuantizedWeightsStandFor) {
  const RunConfig config = toy_run(folder_.path(), 3);
  const std::filesystem::path base = folder_ / "base", small = folder_ / "small", run = folder_ / "run";
  train_run(config, {.folder = base});
  const ModelConfig quantized =
      quantize_model(base / "model", {.experts = Quantization::int4, .dense = Quantization::int8}, small);
  RunConfig tuned = config;
  tuned.model = model_of(small.string());
  EXPECT_FALSE(tuned.model.quantization.any());
  tuned.vocabulary.model.clear();
  tuned.train.init = small.string();
  tuned.train.duration.count = 0;
  train_run(tuned, {.folder = run});
  const auto before = last_tensors(base), after = last_tensors(run);
  int different = 0;
  for (const ParameterSpec& spec : make_catalogue(quantized).parameters) {
    for (const std::string& name : spec.stored) {
      std::string expected = before.at(name);
      if (spec.quantization != Quantization::none) {
        const at::Tensor weight = at::from_blob(expected.data(), spec.stored_shape(), at::kFloat);
        const int64_t rows = weight.size(0), depth = weight.size(1);
        weight.copy_(
            dequantize({quantize(weight, spec.quantization), spec.quantization, rows, depth}).clone());
        different += expected == before.at(name) ? 0 : 1;
      }
      EXPECT_TRUE(after.at(name) == expected) << name;
    }
  }
  EXPECT_GT(different, 0);
}

TEST_F(TrainerTest, NoUpdatesWriteTheInitialModelAndCanGoOn) {
  RunConfig config = toy_run(folder_.path(), 0);
  config.data.valid.clear();
  const std::filesystem::path run = folder_.path() / "run";
  EXPECT_EQ(train_run(config, {.folder = run}), Ending::done);
  EXPECT_EQ(last_tensors(run).at("step"), "0");
  EXPECT_TRUE(std::filesystem::exists(run / "model" / "model.safetensors"));
  config.train.duration.count = 4;
  EXPECT_EQ(train_run(config, {.folder = run}), Ending::done);
  train_run(config, {.folder = folder_.path() / "whole"});
  EXPECT_EQ(last_tensors(run), last_tensors(folder_.path() / "whole"));
}

TEST_F(TrainerTest, OtherSettingsAreRefusedUnlessAccepted) {
  RunConfig config = toy_run(folder_.path(), 4);
  const std::filesystem::path run = folder_.path() / "run";
  train_run(config, {.folder = run});
  config.train.duration.count = 6;  // free to change
  config.optim.learning_rate = 1e-3;
  const std::string message = message_of<UserError>([&] { train_run(config, {.folder = run}); });
  EXPECT_NE(message.find("optim.learning_rate"), std::string::npos) << message;
  EXPECT_EQ(message.find("train.duration"), std::string::npos) << message;
  EXPECT_EQ(train_run(config, {.folder = run, .accept_changes = true}), Ending::done);
  EXPECT_EQ(last_tensors(run).at("step"), "6");
}

TEST_F(TrainerTest, ChangedTextIsRefusedUnlessAccepted) {
  RunConfig config = toy_run(folder_.path(), 4);
  const std::filesystem::path run = folder_.path() / "run";
  train_run(config, {.folder = run});
  std::ofstream(folder_.path() / "train.xx", std::ios::app) << "one more\n";
  std::ofstream(folder_.path() / "train.yy", std::ios::app) << "noch eine\n";
  config.train.duration.count = 6;
  const std::string message = message_of<UserError>([&] { train_run(config, {.folder = run}); });
  EXPECT_NE(message.find("has changed"), std::string::npos) << message;
  EXPECT_EQ(train_run(config, {.folder = run, .accept_changes = true}), Ending::done);
}

/// Of the last checkpoint.
nlohmann::json state_of(const std::filesystem::path& run) {
  std::vector<std::string> complaints;
  return nlohmann::json::parse(CheckpointStore(run).latest_valid(complaints)->state);
}

TEST_F(TrainerTest, OptionsThatOrderTheTextBeginAnEpoch) {
  RunConfig config = toy_run(folder_.path(), 4);
  const std::filesystem::path run = folder_.path() / "run";
  train_run(config, {.folder = run});
  EXPECT_EQ(state_of(run).at("epoch"), 0);
  config.train.duration.count = 6;
  config.data.batch_tokens = 2048;
  config.data.pool_batches = 1;
  EXPECT_EQ(train_run(config, {.folder = run, .accept_changes = true}), Ending::done);
  EXPECT_GE(state_of(run).at("epoch"), 1);
  config.train.duration.count = 7;  // and no other one where nothing has changed since
  config.optim.learning_rate = 1e-3;
  const auto before = state_of(run).at("epoch").get<int64_t>();
  EXPECT_EQ(train_run(config, {.folder = run, .accept_changes = true}), Ending::done);
  EXPECT_LE(state_of(run).at("epoch").get<int64_t>() - before, 1);
}

TEST_F(TrainerTest, EpochsDoneStayDoneWhenTheTextChanges) {
  RunConfig config = toy_run(folder_.path(), 0);
  config.train.duration = {.count = 2, .unit = Duration::Unit::epochs};
  const std::filesystem::path run = folder_.path() / "run";
  train_run(config, {.folder = run});
  const auto long_text = state_of(run).at("updates").get<int64_t>();
  for (const char* side : {"train.xx", "train.yy"}) {
    std::istringstream text(read_file(folder_.path() / side));
    std::ofstream third(folder_.path() / side);
    std::string line;
    for (int i = 0; i < 100 && std::getline(text, line); ++i) third << line << '\n';
  }
  config.train.duration.count = 4;
  EXPECT_EQ(train_run(config, {.folder = run, .accept_changes = true}), Ending::done);
  const nlohmann::json state = state_of(run);
  const double epochs = state.at("sentences").get<double>() / state.at("sentences_per_epoch").get<double>();
  EXPECT_NEAR(epochs, 4, 0.5);
  const auto more = state.at("updates").get<int64_t>() - long_text;
  EXPECT_GT(more, long_text / 6);
  EXPECT_LT(more, long_text / 2);
}

TEST_F(TrainerTest, ScoresOfAnotherCriterionAreNotCompared) {
  RunConfig config = toy_run(folder_.path(), 4);
  const std::filesystem::path run = folder_.path() / "run";
  train_run(config, {.folder = run});
  EXPECT_EQ(state_of(run).at("best_update"), 4);
  for (const char* side : {"valid.xx", "valid.yy"})  // what it does not know, so that the loss is larger
    std::ofstream(folder_.path() / side) << "qqqq wwww xxxx\nyyyy vvvv zzzz\n";
  config.train.duration.count = 6;
  EXPECT_EQ(train_run(config, {.folder = run, .accept_changes = true}), Ending::done);
  EXPECT_EQ(state_of(run).at("best_update"), 6);
}

TEST_F(TrainerTest, TwoProcessesCannotShareARun) {
  const RunConfig config = toy_run(folder_.path(), 4);
  const std::filesystem::path run = folder_.path() / "run";
  std::filesystem::create_directories(run);
  const FolderLock other(run);
  const pid_t child = fork();
  if (child == 0) {
    try {
      train_run(config, {.folder = run});
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
  train_run(config, {.folder = run});
  const auto expected = last_tensors(run);
  const std::filesystem::path newest = run / "checkpoints" / "step-00000006" / "optimizer.safetensors";
  std::filesystem::resize_file(newest, std::filesystem::file_size(newest) / 2);
  EXPECT_EQ(train_run(config, {.folder = run}), Ending::done);
  EXPECT_EQ(last_tensors(run), expected);
}

TEST_F(TrainerTest, SettingsThatContradictAreRefused) {
  RunConfig config = toy_run(folder_.path(), 4);
  config.data.max_length = 64;
  EXPECT_THROW(train_run(config, {.folder = folder_.path() / "run"}), UserError);
  config = toy_run(folder_.path(), 4);
  config.validation.criterion = Criterion::bleu;
  EXPECT_THROW(train_run(config, {.folder = folder_.path() / "run"}), UserError);
  EXPECT_FALSE(std::filesystem::exists(folder_.path() / "run"));
}

TEST_F(TrainerTest, WrongNamesLeaveNoRunBehind) {
  const auto refused = [&](auto change) {
    RunConfig config = toy_run(folder_.path(), 1);
    change(config);
    EXPECT_THROW(train_run(config, {.folder = folder_.path() / "wrong"}), UserError);
    EXPECT_FALSE(std::filesystem::exists(folder_.path() / "wrong" / "run.toml"));
  };
  refused([](RunConfig& c) { c.train.freeze = {"encodr"}; });
  refused([](RunConfig& c) { c.data.curriculum = {{.update = 5, .weights = {"opus=1"}}}; });
  refused([](RunConfig& c) { c.data.denoise = {{.name = "translation"}}; });
  refused([](RunConfig& c) { c.train.init = "/nothing"; });
}

TEST_F(TrainerTest, EarlyStopping) {
  RunConfig config = toy_run(folder_.path(), 100);
  config.optim.learning_rate = 0;  // never better than at first
  config.validation.every = 2;
  config.validation.patience = 3;
  EXPECT_EQ(train_run(config, {.folder = folder_.path() / "run"}), Ending::no_better);
  EXPECT_EQ(last_tensors(folder_.path() / "run").at("step"), "8");
}

}  // namespace
}  // namespace chorus
