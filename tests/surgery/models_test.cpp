#include "surgery/models.h"

#include <algorithm>

#include <ATen/ops/stack.h>

#include "surgery/fixtures.h"

namespace chorus {
namespace {

/// Models that differ in their weights alone.
struct Several : Saved {
  explicit Several(ModelConfig config = summing_config(2)) : Saved({}, std::move(config)) {}
  fs::path another(uint64_t seed) {
    const fs::path where = folder / fmt::format("model-{}", seed);
    initialise(*model, seed);
    save(where);
    return where;
  }
  fs::path out = folder / "out";
};

/// What a parameter of several models is in the model made of them.
using Reference = std::function<at::Tensor(const ParameterSpec&, const std::vector<at::Tensor>&)>;

void expect_made_of(const fs::path& out, const std::vector<fs::path>& models, const Reference& reference) {
  const LoadedModel made = load_model(out, {});
  std::vector<LoadedModel> loaded;
  loaded.reserve(models.size());
  for (const fs::path& model : models) loaded.push_back(load_model(model, {}));
  for (size_t p = 0; p < made.model->parameters().size(); ++p) {
    const ParameterSpec& spec = made.model->catalogue().parameters[p];
    std::vector<at::Tensor> values;
    for (const LoadedModel& one : loaded) values.push_back(one.model->parameters()[p].value);
    // A mean may be half way between two floats, where adding up in another order rounds the other way.
    EXPECT_TRUE(at::allclose(made.model->parameters()[p].value, reference(spec, values), 1e-6, 0))
        << spec.name;
  }
}

at::Tensor mean(const std::vector<at::Tensor>& values) {
  std::vector<at::Tensor> wide;
  for (const at::Tensor& value : values) wide.push_back(value.to(at::kDouble));
  return at::stack(wide).mean(0).to(at::kFloat);
}

TEST(Merge, UnitesExpertsAndAveragesTheRest) {
  Several models;
  const std::vector<fs::path> two = {models.path, models.another(8)};
  EXPECT_EQ(merge_models(two, DenseWeights::average, models.out).moe.experts, 8);
  expect_made_of(models.out, two, [](const ParameterSpec& spec, const auto& values) {
    return has_experts(spec) ? at::cat(values) : mean(values);
  });
  EXPECT_EQ(load_model(models.out, {}).vocabulary.hash(), models.vocabulary.hash());
}

TEST(Merge, TakesTheFirstsDenseWeightsAndModelsOfAnySize) {
  Several models;
  const std::vector<fs::path> two = {models.path, models.another(8)};
  merge_models(two, DenseWeights::average, models.folder / "eight");
  const std::vector<fs::path> three = {two[1], models.folder / "eight", two[0]};
  merge_models(three, DenseWeights::first, models.out);
  expect_made_of(models.out, three, [](const ParameterSpec& spec, const auto& values) {
    return has_experts(spec) ? at::cat(values) : values[0];
  });
}

TEST(Merge, KnowsTheDirectionsOfAllOrOfNone) {
  Several models;
  const std::vector<fs::path> two = {models.path, models.another(8)};
  const auto trained = [](const fs::path& model, const std::vector<std::string>& directions) {
    edit_json(model / "config.json", [&](auto& json) { json["chorus"]["directions"] = directions; });
  };
  trained(two[0], {"en-de", "de-en"});
  merge_models(two, DenseWeights::first, models.folder / "unknown");
  EXPECT_EQ(describe_model(models.folder / "unknown").config.directions, std::vector<std::string>());
  trained(two[1], {"de-fr", "en-de"});
  merge_models(two, DenseWeights::first, models.out);
  EXPECT_EQ(describe_model(models.out).config.directions,
            (std::vector<std::string>{"en-de", "de-en", "de-fr"}));
}

TEST(Merge, OfAModelWithItselfComputesTheSame) {
  // Every token finds its expert twice, with equal probability: of top-1 the gate is 1 either way.
  Several models(summing_config(1));
  const std::vector<fs::path> twice = {models.path, models.path};
  merge_models(twice, DenseWeights::first, models.out);
  expect_same_losses(losses(models.out), losses(*models.model));
}

TEST(Merge, KeepsTypes) {
  const Several models;
  models.save(models.folder / "narrow", DType::bf16);
  const std::vector<fs::path> two = {models.folder / "narrow", models.path};
  merge_models(two, DenseWeights::average, models.out);
  const SafetensorsFile file(models.out / "model.safetensors");
  for (const std::string& name : file.names()) EXPECT_EQ(file.get(name).dtype, DType::bf16) << name;
}

TEST(Merge, WorksOnSwitchModels) {
  const TemporaryFolder folder;
  std::vector<fs::path> two;
  for (const uint64_t seed : {7, 8}) {
    const std::string name = fmt::format("model-{}", seed);
    save_switch_model(folder.path(), name, seed);
    two.push_back(folder / name);
  }
  merge_models(two, DenseWeights::average, folder / "out");
  expect_made_of(folder / "out", two, [](const ParameterSpec& spec, const auto& values) {
    return has_experts(spec) ? at::cat(values) : mean(values);
  });
}

TEST(Merge, NamesTheFirstDifference) {
  const Several models;
  const auto refusal = [&](const fs::path& other) {
    const std::vector<fs::path> two = {models.path, other};
    const std::string message =
        message_of<UserError>([&] { merge_models(two, DenseWeights::average, models.out); });
    EXPECT_FALSE(fs::exists(models.out));
    return message;
  };
  const auto with = [&](const auto& change) {
    ModelConfig config = summing_config(2);
    change(config);
    const Saved other({}, config);
    return refusal(other.path);
  };
  EXPECT_TRUE(has(with([](auto& c) { c.ffn_dim = 14; }), "ffn_dim is 10 in one and 14 in the other"));
  EXPECT_TRUE(has(with([](auto& c) { c.moe.top_k = 1; }), "chorus.top_k is 2 in one and 1"));
  EXPECT_TRUE(has(with([](auto& c) { c.moe.experts = 0; }), "is a dense model"));
  const Saved tagged({"fr"}, summing_config(2));
  EXPECT_TRUE(has(refusal(tagged.path), "different vocabularies"));
  EXPECT_TRUE(has(refusal(models.folder / "nowhere"), "no such folder"));
  const std::vector<fs::path> one = {models.path};
  EXPECT_TRUE(
      has(message_of<UserError>([&] { merge_models(one, DenseWeights::first, models.out); }), "two or more"));
}

TEST(Surgery, OverwritesNothing) {
  const Several models;
  const std::vector<fs::path> twice = {models.path, models.path};
  const std::string before = weights_of(models.path);
  for (const auto& run :
       std::vector<std::function<void()>>{[&] { merge_models(twice, DenseWeights::first, models.path); },
                                          [&] { average_models(twice, models.path); },
                                          [&] { grow_model(models.path, {.experts = 6}, models.path); }}) {
    EXPECT_TRUE(has(message_of<UserError>(run), "there already"));
  }
  EXPECT_TRUE(weights_of(models.path) == before);
}

TEST(Average, IsTheMeanOfEveryWeight) {
  Several models;
  const std::vector<fs::path> three = {models.path, models.another(8), models.another(9)};
  average_models(three, models.out);
  expect_made_of(models.out, three, [](const ParameterSpec&, const auto& values) { return mean(values); });
  const std::vector<fs::path> twice = {models.path, models.path};
  average_models(twice, models.folder / "same");
  EXPECT_TRUE(weights_of(models.folder / "same") == weights_of(models.path));
}

TEST(Average, TakesTensorsOfAnySize) {
  ModelConfig config = summing_config(2);
  config.d_model = 255 * 2;  // the embedding has more elements than are computed at a time
  Several models(config);
  const std::vector<fs::path> two = {models.path, models.another(8)};
  average_models(two, models.out);
  expect_made_of(models.out, two, [](const ParameterSpec&, const auto& values) { return mean(values); });
}

TEST(Average, TakesCheckpointsOfARun) {
  Several models;
  const fs::path run = models.folder / "run";
  fs::create_directories(run / "checkpoints");
  fs::copy(models.path, run / "model");
  std::vector<fs::path> checkpoints;
  for (const uint64_t seed : {8, 9}) {
    checkpoints.push_back(run / "checkpoints" / fmt::format("step-{}", seed));
    fs::create_directory(checkpoints.back());
    fs::copy_file(models.another(seed) / "model.safetensors", checkpoints.back() / "model.safetensors");
  }
  average_models(checkpoints, models.out);
  expect_made_of(models.out, {models.folder / "model-8", models.folder / "model-9"},
                 [](const ParameterSpec&, const auto& values) { return mean(values); });
}

TEST(Upcycle, WithoutNoiseComputesWhatTheDenseModelDoes) {
  ModelConfig dense = tiny_config();
  dense.moe.experts = 0;
  const Saved saved({}, dense);
  const at::Tensor expected = losses(*saved.model);
  int number = 0;
  for (const int64_t top_k : {1, 2, 3}) {
    for (const GateNormalization gates : {GateNormalization::after_drop, GateNormalization::before_drop}) {
      const fs::path out = saved.folder / fmt::format("out-{}", number++);
      upcycle_model(saved.path, {.experts = 5, .top_k = top_k, .gates = gates}, out);
      expect_same_losses(losses(out), expected);
    }
  }
  const LoadedModel made = load_model(saved.folder / "out-0", {});
  EXPECT_EQ(made.model->config().moe.experts, 5);
  EXPECT_EQ(made.model->catalogue().sparse_layers(), 2);
}

TEST(Upcycle, NoiseSetsTheCopiesApart) {
  ModelConfig dense = tiny_config();
  dense.moe.experts = 0;
  const Saved saved({}, dense);
  const fs::path out = saved.folder / "out", other = saved.folder / "other";
  const UpcycleOptions options = {
      .experts = 3, .encoder_every = 1, .decoder_every = 0, .noise = 0.1, .seed = 4};
  upcycle_model(saved.path, options, out);
  const LoadedModel made = load_model(out, {});
  EXPECT_EQ(made.model->catalogue().sparse_layers(), 2) << "both of the encoder";
  const size_t fc1 = made.model->catalogue().encoder[1].ffn.fc1.weight;
  const at::Tensor copies = made.model->parameters()[fc1].value,
                   original =
                       saved.model->parameters()[saved.model->catalogue().encoder[1].ffn.fc1.weight].value;
  const double expected = 0.1 * original.std(false).item<double>();
  for (int64_t e = 0; e < 3; ++e)
    EXPECT_NEAR((copies[e] - original).std(false).item<double>(), expected, 0.25 * expected) << e;
  EXPECT_FALSE(at::equal(copies[0], copies[1]));
  UpcycleOptions reseeded = options;
  reseeded.seed = 5;
  upcycle_model(saved.path, reseeded, other);
  const size_t router = made.model->catalogue().encoder[1].ffn.router;
  EXPECT_FALSE(at::equal(load_model(other, {}).model->parameters()[router].value,
                         made.model->parameters()[router].value));
}

TEST(Upcycle, SaysWhatItCannotDo) {
  const Several sparse, switching(switch_config());
  ModelConfig config = tiny_config();
  config.moe.experts = 0;
  const Saved dense({}, config);
  const auto refusal = [&](const fs::path& model, const UpcycleOptions& options) {
    return message_of<UserError>([&] { upcycle_model(model, options, sparse.out); });
  };
  EXPECT_TRUE(has(refusal(sparse.path, {}), "chorus grow"));
  EXPECT_TRUE(has(refusal(dense.path, {.experts = 2, .top_k = 3}), "top_k = 3"));
  EXPECT_TRUE(has(refusal(dense.path, {.encoder_every = 0, .decoder_every = 7}), "no layer"));
}

TEST(Grow, KeepsWhatIsThereAndCopiesTheRest) {
  const Several models;
  grow_model(models.path, {.experts = 10, .noise = 0.1}, models.out);
  const LoadedModel grown = load_model(models.out, {});
  for (size_t p = 0; p < grown.model->parameters().size(); ++p) {
    const ParameterSpec& spec = grown.model->catalogue().parameters[p];
    const at::Tensor now = grown.model->parameters()[p].value, before = models.model->parameters()[p].value;
    if (!has_experts(spec)) {
      EXPECT_TRUE(at::equal(now, before)) << spec.name;
      continue;
    }
    ASSERT_EQ(now.size(0), 10);
    EXPECT_TRUE(at::equal(now.narrow(0, 0, 4), before)) << spec.name;
    for (int64_t e = 4; e < 10; ++e) {
      const double difference = (now[e] - before[e % 4]).std(false).item<double>(),
                   expected = 0.1 * before[e % 4].std(false).item<double>();
      EXPECT_NEAR(difference, expected, 0.6 * expected) << spec.name << " " << e;
    }
  }
}

TEST(Grow, WithoutNoiseComputesTheSame) {
  const Several models(summing_config(1));
  grow_model(models.path, {.experts = 6, .noise = 0}, models.out);
  expect_same_losses(losses(models.out), losses(*models.model));
  EXPECT_TRUE(
      has(message_of<UserError>([&] { grow_model(models.path, {.experts = 4}, models.folder / "no"); }),
          "--experts 4 is no more"));
}

}  // namespace
}  // namespace chorus
