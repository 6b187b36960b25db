// Experts off the device: what has no tokens is not touched, and nothing comes out differently.
#include <array>
#include <set>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "state/optimizer.h"
#include "temporary_folder.h"
#include "toy_run.h"
#include "train/tiers.h"
#include "train/trainer.h"

namespace chorus {
namespace {

std::vector<nlohmann::json> records(const std::filesystem::path& run, const std::string& kind) {
  std::vector<nlohmann::json> found;
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    nlohmann::json record = nlohmann::json::parse(line);
    if (record["kind"] == kind) found.push_back(std::move(record));
  }
  return found;
}

class ExpertsByUse : public testing::Test {
 protected:
  void SetUp() override { console().set_quiet(true); }

  /// Micro-batches of a few tokens for 16 experts.
  [[nodiscard]] RunConfig sparse_run(int64_t updates) const {
    RunConfig config = toy_run(folder_.path(), updates);
    config.data.batch_tokens = 12;
    config.data.micro_batches = 2;
    config.model.moe.experts = 16;
    config.model.moe.top_k = 1;
    config.model.layer_dropout = 0.2;
    config.model.moe.gating_dropout = 0.1;
    config.optim.weight_decay = 0.1;
    config.optim.clip_norm = 0.3;
    config.train.log_every = 1;
    config.train.checkpoint_every = 0;
    config.validation.every = 0;
    return config;
  }

  std::map<std::string, std::string> train_with(const RunConfig& config, const std::string& name) {
    train_run(config, {.folder = folder_ / name, .accept_changes = true});
    return last_tensors(folder_ / name);
  }

  TemporaryFolder folder_;
};

TEST_F(ExpertsByUse, GiveTheBitsOfADenseUpdateInEveryPlacement) {
  for (const Precision precision : {Precision::fp32, Precision::bf16}) {
    RunConfig config = sparse_run(9);
    config.precision = precision;
    config.train.recompute = precision == Precision::bf16;
    const std::string type = precision == Precision::bf16 ? "bf16" : "fp32";
    const auto expected = train_with(config, type);
    std::set<int64_t> unused;
    int64_t clipped = 0;
    for (const nlohmann::json& record : records(folder_ / type, "train")) {
      unused.insert(record["layers"]["encoder.layers.1"]["unused_experts"].get<int64_t>());
      clipped += record["gradient_norm"].get<double>() > config.optim.clip_norm ? 1 : 0;
    }
    EXPECT_GT(*unused.rbegin(), 4);
    EXPECT_GT(unused.size(), 2U);
    EXPECT_GT(clipped, 0);
    for (const auto& [parameters, gradients, optimizer] :
         std::vector<std::array<Tier, 3>>{{kDevice, kDevice, kHost},
                                          {kDevice, kNvme, kDevice},
                                          {kHost, kDevice, kDevice},
                                          {kHost, kHost, kNvme},
                                          {kNvme, kDevice, kHost},
                                          {kNvme, kNvme, kNvme}}) {
      config.memory = {
          .expert_parameters = parameters, .expert_gradients = gradients, .expert_optimizer = optimizer};
      const std::string name = fmt::format("{}-{}{}{}", type, static_cast<int>(parameters),
                                           static_cast<int>(gradients), static_cast<int>(optimizer));
      EXPECT_TRUE(train_with(config, name) == expected) << name;
    }
  }
}

TEST_F(ExpertsByUse, AreCaughtUpWithBeforeTheyAreShown) {
  RunConfig config = sparse_run(12);
  const auto expected = train_with(config, "device");
  config.memory = {.parameters = kNvme, .gradients = kNvme, .optimizer = kNvme};
  config.train.duration.count = 5;
  train_with(config, "resumed");
  config.memory = {.optimizer = kHost};
  config.train.duration.count = 12;
  EXPECT_TRUE(train_with(config, "resumed") == expected);
}

TEST_F(ExpertsByUse, ValidationSeesWhatADenseRunSees) {
  RunConfig config = sparse_run(6);
  config.validation = {.every = 2, .decode = 5};
  const auto expected = train_with(config, "device");
  const std::vector<MemoryConfig> placements = {
      {.optimizer = kNvme},
      {.parameters = kHost, .optimizer = kHost},
      {.parameters = kNvme, .gradients = kNvme, .optimizer = kNvme}};
  for (size_t i = 0; i < placements.size(); ++i) {
    config.memory = placements[i];
    const std::string name = std::to_string(i);
    EXPECT_TRUE(train_with(config, name) == expected) << i;
    const auto one = records(folder_ / "device", "validation"), other = records(folder_ / name, "validation");
    ASSERT_EQ(one.size(), 3U);
    ASSERT_EQ(other.size(), one.size());
    for (size_t v = 0; v < one.size(); ++v) {
      for (const char* number : {"loss", "bleu", "chrf"}) EXPECT_EQ(one[v][number], other[v][number]) << i;
    }
  }
}

/// One process that trains on the same sentence again and again, without learning from it.
class Repeated {
 public:
  Repeated(const std::filesystem::path& folder, const std::vector<int32_t>& sentence)
      : model_(config(), {.gradients = true, .empty = true, .parallel = &parallel_}),
        optimizer_(model_, {}, parallel_, all_on_disk(folder)) {
    optimizer_.initialise(RandomKey(1));
    const auto length = static_cast<int64_t>(sentence.size());
    batch_ = {.rows = 1, .source_length = length, .target_length = length};
    batch_.source = batch_.target_input = batch_.target_labels = sentence;
    batch_.target_tokens = length;
    update();  // what was never written is not read
  }

  /// Bytes of one update.
  ScratchFile::Traffic update() {
    const ScratchFile::Traffic before = optimizer_.traffic();
    std::vector<MoeStatistics> statistics(model_.catalogue().sparse_layers());
    optimizer_.begin_update();
    optimizer_.last_micro_batch();
    model_.train(model_.to_batch(batch_), {.training = true, .group_count = 1, .statistics = &statistics},
                 {});
    optimizer_.update(0, optimizer_.gradient_norm());
    used = 0;
    for (const MoeStatistics& layer : statistics) {
      used += std::ranges::count_if(layer.assigned, [](int64_t rows) { return rows > 0; });
    }
    const ScratchFile::Traffic after = optimizer_.traffic();
    return {.read = after.read - before.read, .written = after.written - before.written};
  }

  /// What there is to show, so that nothing is left to be caught up with.
  void read() {
    optimizer_.read([](const Optimizer::Part&) {});
  }

  int64_t used = 0;  // experts, in all layers, by the last update

  static constexpr int64_t kWidth = 64;  // an expert's weight has 4,096 elements: whole blocks

 private:
  static ModelConfig config() {
    ModelConfig c;
    c.vocabulary = 300;
    c.d_model = c.ffn_dim = kWidth;
    c.encoder_layers = c.decoder_layers = 2;
    c.attention_heads = 4;
    c.max_positions = 40;
    c.moe.experts = 32;
    c.moe.top_k = 1;
    c.moe.encoder_every = c.moe.decoder_every = 1;
    c.moe.capacity_factor = 0;
    c.moe.selection = TokenSelection::position;
    c.moe.jitter = 0;
    c.dropout = c.attention_dropout = c.activation_dropout = 0;
    return c;
  }
  static MemoryConfig all_on_disk(const std::filesystem::path& folder) {
    return {.parameters = kNvme, .gradients = kNvme, .optimizer = kNvme, .folder = folder.string()};
  }

  Parallel parallel_;
  Transformer model_;
  Optimizer optimizer_;
  MicroBatch batch_;
};

TEST_F(ExpertsByUse, TrafficFollowsUse) {
  std::vector<int32_t> varied;
  for (int32_t i = 0; i < 30; ++i) varied.push_back(10 + 9 * i);
  Repeated few(folder_ / "few", {17}), many(folder_ / "many", varied);
  const ScratchFile::Traffic little = few.update(), much = many.update();
  ASSERT_GE(few.used, 1);
  ASSERT_GT(many.used, few.used + 10);
  // Of an expert's two weights and a micro-batch: the values forward, back and in the update, the gradient
  // for the norm and in the update, two moments; written are a gradient, two moments, a value.
  const uint64_t expert = 2 * 4 * Repeated::kWidth * Repeated::kWidth;
  const auto more = static_cast<uint64_t>(many.used - few.used);
  EXPECT_EQ(much.read - little.read, more * 7 * expert);
  EXPECT_EQ(much.written - little.written, more * 4 * expert);
  EXPECT_LT(much.read, 4 * 32 * 7 * expert);
}

TEST_F(ExpertsByUse, CompactStateIsRoundedAfterEachUpdateWhereverItLies) {
  for (const StateForm form : {StateForm::bf16, StateForm::fp8}) {
    for (const Precision precision : {Precision::fp32, Precision::bf16}) {
      RunConfig config = sparse_run(8);
      config.optim.expert_state = form;
      config.precision = precision;
      const std::string name = fmt::format("{}-{}-", static_cast<int>(form), static_cast<int>(precision));
      const auto expected = train_with(config, name + "device");
      config.memory = {.expert_parameters = kHost, .expert_gradients = kNvme, .expert_optimizer = kNvme};
      EXPECT_TRUE(train_with(config, name + "nvme") == expected) << name;
      // What a checkpoint has in fp32 is packed again without loss.
      config.memory.expert_optimizer = kHost;
      config.train.duration.count = 3;
      train_with(config, name + "resumed");
      config.train.duration.count = 8;
      EXPECT_TRUE(train_with(config, name + "resumed") == expected) << name;
    }
  }
}

TEST_F(ExpertsByUse, CompactStateTakesTheSpaceItSaysAndLearnsAsWell) {
  std::map<StateForm, double> loss, bytes;
  for (const StateForm form : {StateForm::fp32, StateForm::bf16, StateForm::fp8}) {
    RunConfig config = toy_run(folder_.path(), 150);
    config.model.ffn_dim = 512;
    config.optim.expert_state = form;
    config.memory.expert_optimizer = kNvme;
    config.train.checkpoint_every = 0;
    const std::string name = std::to_string(static_cast<int>(form));
    train_with(config, name);
    loss[form] = records(folder_ / name, "validation").back()["loss"];
    bytes[form] = records(folder_ / name, "train").back()["memory"]["nvme"];
  }
  EXPECT_LT(loss[StateForm::fp32], 3);
  EXPECT_NEAR(loss[StateForm::bf16], loss[StateForm::fp32], 0.01 * loss[StateForm::fp32]);
  EXPECT_NEAR(loss[StateForm::fp8], loss[StateForm::fp32], 0.01 * loss[StateForm::fp32]);
  EXPECT_LT(bytes[StateForm::bf16], 0.55 * bytes[StateForm::fp32]);
  EXPECT_LT(bytes[StateForm::fp8], 0.35 * bytes[StateForm::fp32]);
}

}  // namespace
}  // namespace chorus
