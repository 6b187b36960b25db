// Training in every layout gives what one process gives: losses, gradient norms, weights and moments.
#include "train/trainer.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/files.h"
#include "mpi/world.h"
#include "parallel/mesh.h"
#include "ranks/ranks.h"
#include "temporary_folder.h"
#include "toy_run.h"

namespace chorus {
namespace {

using ::testing::HasSubstr;

/// What a run came to.
struct Outcome {
  std::map<std::string, double> numbers;  // losses and gradient norms: "train 3 loss", "validation 5 loss"
  std::map<std::string, std::string> tensors;  // of the last checkpoint
};

Outcome outcome_of(const std::filesystem::path& run) {
  Outcome outcome = {.numbers = {}, .tensors = last_tensors(run)};
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const nlohmann::json record = nlohmann::json::parse(line);
    const std::string which =
        fmt::format("{} {}", record["kind"].get<std::string>(), record["update"].get<int64_t>());
    for (const char* number : {"loss", "gradient_norm", "dropped", "bleu", "chrf"}) {
      if (record.contains(number))
        outcome.numbers[fmt::format("{} {}", which, number)] = record[number].get<double>();
    }
    const nlohmann::json tasks = record.value("tasks", nlohmann::json::object());
    for (const auto& [task, sums] : tasks.items())
      outcome.numbers[fmt::format("{} {}", which, task)] = sums[sums.contains("nll") ? "nll" : "loss"];
  }
  return outcome;
}

double relative(double a, double b) {
  return a == b ? 0 : std::abs(a - b) / std::max(std::abs(a), std::abs(b));
}

/// Largest difference, over the largest magnitude.
double difference(const std::string& a, const std::string& b) {
  std::vector<float> x(a.size() / sizeof(float)), y(b.size() / sizeof(float));
  std::memcpy(x.data(), a.data(), a.size());
  std::memcpy(y.data(), b.data(), b.size());
  double most = 0, largest = 1e-30;
  for (size_t i = 0; i < x.size(); ++i) {
    most = std::max(most, static_cast<double>(std::abs(x[i] - y[i])));
    largest = std::max(largest, static_cast<double>(std::abs(x[i])));
  }
  return most / largest;
}

constexpr double kTolerance = 1e-5;

void expect_equal(const Outcome& one, const Outcome& many) {
  EXPECT_GE(one.numbers.size(), 10U);
  for (const auto& [name, number] : one.numbers) {
    EXPECT_LT(relative(number, many.numbers.at(name)), kTolerance) << name;
  }
  ASSERT_EQ(one.tensors.size(), many.tensors.size());
  for (const auto& [name, bytes] : one.tensors) {
    // What is added to all keys changes no attention: their gradient is rounding alone.
    if (name.ends_with("k_proj.bias")) continue;
    ASSERT_EQ(bytes.size(), many.tensors.at(name).size()) << name;
    if (name == "step") continue;
    EXPECT_LT(difference(bytes, many.tensors.at(name)), kTolerance) << name;
  }
}

class RanksTest : public ::testing::Test {
 protected:
  RanksTest() : folder_(ranks().gather_text(own_.path().string()).front()) {}
  ~RanksTest() override { ranks().barrier("the end of a test"); }

  /// 10 updates in which choices are dropped and masks are drawn, over text that lies in rank 0's folder.
  [[nodiscard]] RunConfig config() const {
    RunConfig config = toy_run(own_.path(), 10);
    config.data.train[0].files = (folder_ / "train.{lang}").string();
    config.data.valid[0].files = (folder_ / "valid.{lang}").string();
    config.data.micro_batches = 3;
    config.vocabulary.size = 280;
    config.vocabulary.model = (folder_ / "vocabulary.model").string();
    config.model.attention_heads = 4;
    config.model.moe.experts = 8;
    config.model.attention_dropout = 0.1;
    config.model.moe.capacity_factor = 1;
    config.model.activation_dropout = 0.1;
    config.model.moe.expert_output_dropout = 0.1;
    config.model.moe.z_loss = 1e-3;
    config.optim.epsilon = 1e-5;  // smaller, it would blow up what is rounding alone
    config.optim.warmup = {.count = 2};
    config.optim.clip_norm = 0.5;
    config.train.log_every = 1;
    config.train.checkpoint_every = 0;
    config.validation.every = 5;
    config.parallel.timeout = 20;
    return config;
  }

  [[nodiscard]] std::filesystem::path run(const std::string& name) const { return folder_ / name; }

  /// What one process makes of it, on rank 0.
  Outcome alone(const RunConfig& config, const std::string& name) {
    if (ranks().rank() == 0) train_run(config, {.folder = run(name)});
    ranks().barrier("one process's run");
    return outcome_of(run(name));
  }
  Outcome together(const RunConfig& config, const std::string& name) {
    train_run(config, {.folder = run(name), .accept_changes = true, .group = &ranks()});
    ranks().barrier("the run of all");
    return outcome_of(run(name));
  }

  TemporaryFolder own_;
  std::filesystem::path folder_;  // rank 0's
};

/// What lies where, in some of the ways there are.
std::vector<MemoryConfig> placements() {
  const Tier host = Tier::host, nvme = Tier::nvme;
  return {{},
          {.optimizer = host},
          {.parameters = host, .gradients = host, .optimizer = nvme},
          {.gradients = host, .expert_parameters = nvme, .expert_gradients = nvme, .expert_optimizer = nvme},
          {.parameters = nvme, .gradients = nvme, .optimizer = nvme, .expert_gradients = Tier::device}};
}

/// CHORUS_TEST_DEVICE=simulated (or another that each rank has one of): there, against one process on the host.
TEST_F(RanksTest, EveryMeshTrainsAsOneProcess) {
  RunConfig c = config();
  // A ReLU whose input is zero but for rounding passes a gradient in one mesh and none in another: of all
  // meshes, one of 8 ranks came upon it.
  c.model.activation = Activation::gelu;
  const Outcome one = alone(c, "one");
  if (const char* const device = std::getenv("CHORUS_TEST_DEVICE")) c.device = device;
  const int64_t world = ranks().size();
  const auto divides = [&](int64_t n) { return world % n == 0; };
  int64_t number = 0;
  for (int64_t tp = 1; tp <= 4; ++tp) {
    for (int64_t ep = 1; ep <= 8; ++ep) {
      for (int64_t etp = 1; etp <= 8; ++etp) {
        if (!divides(tp) || 4 % tp != 0 || !divides(ep * etp) || 8 % ep != 0) continue;
        for (int64_t zero = 0; zero <= 3; ++zero, ++number) {
          // All stages where nothing is cut; elsewhere they take turns, so that each meets every form.
          const bool cut = tp * etp > 1;
          if (cut && zero != (tp + ep + etp) % 4) continue;
          c.parallel = {.ep = ep, .etp = etp, .tp = tp, .zero = zero, .timeout = 20};
          c.train.recompute = number % 2 == 1;
          c.parallel.exchange_chunks = 1 + number % 3;
          c.memory = placements()[number % placements().size()];
          if (c.train.recompute) c.memory.activations = Tier::host;
          const std::string mesh = fmt::format("tp{}-ep{}-etp{}-zero{}", tp, ep, etp, zero);
          SCOPED_TRACE(mesh);
          expect_equal(one, together(c, mesh));
        }
      }
    }
  }
}

/// Each rank with a device of its own, which no code of the host can read (device/simulated.h), and slower memory.
TEST_F(RanksTest, MeshesOfDevicesTrainAsOneProcessOnTheHost) {
  RunConfig c = config();
  c.model.activation = Activation::gelu;
  c.train.duration.count = 4;
  const Outcome one = alone(c, "host");
  c.device = "simulated";
  const int world = ranks().size();
  std::vector<ParallelConfig> meshes = {{.zero = 0}, {.zero = 1}, {.zero = 2}, {.zero = 3}};
  if (8 % world == 0) meshes.push_back({.ep = world, .zero = 1});
  if (4 % world == 0) meshes.insert(meshes.end(), {{.etp = world, .zero = 3}, {.tp = world, .zero = 2}});
  for (size_t i = 0; i < meshes.size(); ++i) {
    c.parallel = meshes[i];
    c.parallel.timeout = 60;
    c.parallel.exchange_chunks = 1 + static_cast<int64_t>(i) % 2;
    c.train.recompute = i % 2 == 1;
    c.memory = placements()[(i + 1) % placements().size()];
    if (c.train.recompute) c.memory.activations = Tier::host;
    SCOPED_TRACE(i);
    expect_equal(one, together(c, fmt::format("device-{}", i)));
  }
}

TEST_F(RanksTest, TasksFrozenPartsAndInitialModelsAreThoseOfOneProcess) {
  RunConfig c = config();
  c.model.activation = Activation::gelu;  // as in EveryMeshTrainsAsOneProcess
  c.vocabulary.size = 287;
  c.data.denoise = {{.noise = {.mask = 0.5, .span = 1}}};
  c.data.curriculum = {{.update = 4, .weights = {"denoise=3"}}};
  c.data.source_sampling = c.data.target_sampling = 0.3;
  c.train.freeze = {"router", "decoder.*"};
  const Outcome one = alone(c, "one");
  const int world = ranks().size();
  std::vector<ParallelConfig> meshes = {{.zero = 1}, {.zero = 3}};
  if (8 % world == 0) meshes.push_back({.ep = world, .zero = 2});
  if (4 % world == 0) meshes.push_back({.tp = world});
  for (size_t i = 0; i < meshes.size(); ++i) {
    c.parallel = meshes[i];
    c.parallel.timeout = 20;
    SCOPED_TRACE(i);
    expect_equal(one, together(c, fmt::format("many-{}", i)));
  }
  RunConfig tuned = config();
  tuned.train.duration.count = 4;
  tuned.train.init = run("one").string();
  tuned.model = model_of(tuned.train.init);
  tuned.vocabulary.model.clear();
  tuned.vocabulary.add = {"zz=xx", "ww"};
  tuned.vocabulary.symbols = {"<bt>"};
  const Outcome tuned_one = alone(tuned, "tuned");
  tuned.parallel = meshes.back();
  tuned.parallel.timeout = 20;
  expect_equal(tuned_one, together(tuned, "tuned-many"));
}

TEST_F(RanksTest, SkippedLayersKeepTheirExpertsForOthers) {
  RunConfig c = config();
  c.model.layer_dropout = 0.5;
  c.data.micro_batches = 4;
  c.model.activation = Activation::swiglu;
  const Outcome one = alone(c, "one");
  const int64_t two = ranks().size() % 2 == 0 ? 2 : 1;
  c.parallel.ep = two;
  expect_equal(one, together(c, "spread"));
  c.parallel = {.etp = two, .timeout = c.parallel.timeout};
  expect_equal(one, together(c, "cut"));
}

TEST_F(RanksTest, ExpertsByUseGiveTheBitsOfADenseUpdate) {
  RunConfig c = config();
  c.train.duration.count = 6;
  c.data.batch_tokens = 24;
  c.data.micro_batches = 5;
  c.model.moe.experts = 24 * ranks().size();
  c.model.moe.top_k = 1;
  c.parallel.ep = ranks().size();
  c.parallel.exchange_chunks = 2;
  const Outcome dense = together(c, "dense");
  const Tier host = Tier::host, nvme = Tier::nvme;
  for (const bool recompute : {false, true}) {
    c.train.recompute = recompute;
    c.memory = {
        .expert_parameters = recompute ? host : nvme, .expert_gradients = host, .expert_optimizer = nvme};
    const Outcome by_use = together(c, fmt::format("by-use-{}", recompute));
    EXPECT_TRUE(by_use.numbers == dense.numbers) << recompute;
    EXPECT_TRUE(by_use.tensors == dense.tensors) << recompute;
  }
}

TEST_F(RanksTest, RelativePositionsAreCutByHeads) {
  if (ranks().size() % 2 != 0) GTEST_SKIP() << "with an even number of ranks";
  RunConfig c = config();
  c.model.positions = Positions::relative;
  c.model.decoder_start = kPad;
  c.model.norm = Norm::rms;
  c.model.biases = false;
  c.model.activation = Activation::swiglu;
  const Outcome one = alone(c, "one");
  c.parallel = {.etp = 2, .tp = 2, .zero = 1};
  expect_equal(one, together(c, "many"));
}

TEST_F(RanksTest, TheOutputsBiasIsCutByTheVocabularyAndNormsMayFollow) {
  if (ranks().size() % 2 != 0) GTEST_SKIP() << "with an even number of ranks";
  RunConfig c = config();
  c.model.post_norm = c.model.output_bias = true;
  c.model.activation = Activation::silu;
  const Outcome one = alone(c, "one");
  c.parallel = {.etp = 2, .tp = 2, .zero = 1};
  expect_equal(one, together(c, "many"));
}

TEST_F(RanksTest, Bf16TrainsAlikeInEveryForm) {
  RunConfig c = config();
  c.precision = Precision::bf16;
  const Outcome one = alone(c, "one");
  const int64_t two = ranks().size() % 2 == 0 ? 2 : 1;
  const std::vector<ParallelConfig> layouts = {
      {.zero = 1}, {.ep = two, .zero = 2}, {.ep = two, .tp = two, .zero = 3}, {.etp = two, .tp = two}};
  for (size_t i = 0; i < layouts.size(); ++i) {
    SCOPED_TRACE(i);
    c.parallel = layouts[i];
    const Outcome many = together(c, fmt::format("many-{}", i));
    // Where ranks add up activations, parts of sums are rounded to bf16, of 8 bits.
    const double tolerance = i == 0 ? 1e-5 : 1e-2;
    for (const char* number :
         {"train 1 loss", "train 10 loss", "validation 10 loss", "train 1 gradient_norm"})
      EXPECT_LT(relative(one.numbers.at(number), many.numbers.at(number)), tolerance) << number;
  }
}

TEST_F(RanksTest, GatingDropoutSparesTheExchange) {
  RunConfig c = config();
  c.data.valid.clear();
  c.validation.every = 0;
  c.model.moe.gating_dropout = 0.5;
  const Outcome one = alone(c, "one");
  c.parallel.ep = ranks().size() % 2 == 0 ? 2 : 1;
  expect_equal(one, together(c, "many"));
  int64_t passed_over = 0;
  std::ifstream file(run("many") / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    passed_over +=
        nlohmann::json::parse(line)["layers"]["encoder.layers.1"]["entropy"].get<double>() == 0 ? 1 : 0;
  }
  EXPECT_GT(passed_over, 0);
  EXPECT_LT(passed_over, 10);
}

TEST_F(RanksTest, CheckpointsAreReadInOtherLayouts) {
  RunConfig c = config();
  const Outcome one = alone(c, "one");
  const int64_t two = ranks().size() % 2 == 0 ? 2 : 1;
  for (const char* part_size : {"", "1MiB"}) {
    const std::string name = fmt::format("many{}", part_size);
    c.train.checkpoint_part_size = part_size;
    c.parallel = {.ep = two, .tp = two, .zero = 3};
    c.train.duration.count = 4;
    together(c, name);
    c.parallel = {.etp = two, .zero = 1};
    c.train.duration.count = 7;
    together(c, name);
    c.parallel = {};
    c.train.duration.count = 10;
    if (ranks().rank() == 0) train_run(c, {.folder = run(name)});
    ranks().barrier("the last part of the run");
    expect_equal(one, outcome_of(run(name)));
  }
}

TEST_F(RanksTest, TranslationsForValidationAreThoseOfOneProcess) {
  RunConfig c = config();
  c.train.duration.count = 3;
  c.validation = {.every = 3, .decode = 7, .criterion = Criterion::chrf};
  const Outcome one = alone(c, "one");
  EXPECT_TRUE(one.numbers.contains("validation 3 chrf"));
  c.parallel.ep = ranks().size() % 2 == 0 ? 2 : 1;
  expect_equal(one, together(c, "experts"));
  c.parallel = {.tp = c.parallel.ep};
  expect_equal(one, together(c, "tensors"));
  c.parallel = {.zero = 3};
  expect_equal(one, together(c, "zero"));
}

TEST_F(RanksTest, FilesAreThoseOfOneProcess) {
  RunConfig c = config();
  c.train.duration.count = 0;
  c.data.valid.clear();
  c.model.activation = Activation::swiglu;  // whose inner layers are cut in two blocks
  alone(c, "one");
  const int64_t two = ranks().size() % 2 == 0 ? 2 : 1;
  const std::vector<ParallelConfig> layouts = {{.ep = two, .zero = 2}, {.etp = two, .tp = two, .zero = 1}};
  for (const ParallelConfig& layout : layouts) {
    c.parallel = layout;
    const std::string many = fmt::format("many-{}", layout.zero);
    together(c, many);
    for (const char* file :
         {"checkpoints/step-00000000/model.safetensors", "checkpoints/step-00000000/optimizer.safetensors",
          "model/model.safetensors", "model/config.json"}) {
      EXPECT_EQ(read_file(run("one") / file), read_file(run(many) / file)) << file;
    }
  }
}

TEST_F(RanksTest, BadMeshesAreRefused) {
  RunConfig c = config();
  c.parallel.ep = 3;
  try {
    make_mesh(c.parallel, 4, {.experts = 8});
    FAIL();
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("parallel.ep = 3 does not go with 4 processes and 8 experts: it must divide "
                          "both, as 1 or 2 or 4 does"));
  }
}

}  // namespace
}  // namespace chorus
