#include "surgery/prune.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <ATen/ops/bincount.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "formats/convert.h"
#include "io/json.h"
#include "surgery/fixtures.h"

namespace chorus {
namespace {

DirectionText text(const std::string& from, const std::string& to, int64_t pairs) {
  return {.name = from + "-" + to,
          .from = from,
          .to = to,
          .sources = sentences(from, pairs),
          .references = sentences(to, pairs)};
}

std::vector<ExpertUsage> usage_of(Saved& saved, const std::vector<DirectionText>& texts) {
  return measure_usage(*saved.model, saved.vocabulary, texts, {});
}

/// Usage of two layers that says how often each expert was chosen.
std::vector<ExpertUsage> chosen(const std::vector<int64_t>& counts) {
  const ExpertUsage layer = {.tokens = 10,
                             .chosen = counts,
                             .first = counts,
                             .gate = {counts.begin(), counts.end()},
                             .confidence = std::vector<double>(counts.size(), 0.5)};
  return {layer, layer};
}

// ---- what is counted

TEST(Usage, IsWhatTheRouterDecided) {
  Saved saved({}, tiny_config());
  const DirectionText pairs = text("en", "de", 300);
  const std::vector<ExpertUsage> usage = usage_of(saved, {pairs});
  const std::vector<MicroBatch> batches = batches_of(pairs, saved.vocabulary, 32);
  ASSERT_GT(batches.size(), 1U) << "though most pairs are too long";
  std::vector<std::vector<RoutingRecord>> records(batches.size());
  for (size_t b = 0; b < batches.size(); ++b) {
    records[b].resize(2);
    saved.model->evaluate(saved.model->to_batch(batches[b]), {.routings = &records[b], .dropless = true});
  }
  for (size_t l = 0; l < 2; ++l) {
    at::Tensor choices = at::zeros({4}), first = at::zeros({4}), confidence = at::zeros({4}),
               gate = at::zeros({4});
    for (const auto& record : records) {
      const at::Tensor active = record[l].routing.experts.select(1, 0).ge(0);
      const at::Tensor experts = record[l].routing.experts.index({active}),
                       p = record[l].probabilities.index({active});
      const at::Tensor top = experts.select(1, 0), probability = p.gather(1, experts);
      choices += at::bincount(experts.flatten(), {}, 4);
      first += at::bincount(top, {}, 4);
      confidence += at::bincount(top, probability.select(1, 0).contiguous(), 4);
      gate += at::bincount(experts.flatten(), probability.flatten(), 4);  // gate_normalization = none
    }
    for (int64_t e = 0; e < 4; ++e) {
      EXPECT_EQ(usage[l].chosen[e], choices[e].item<int64_t>());
      EXPECT_EQ(usage[l].first[e], first[e].item<int64_t>());
      EXPECT_NEAR(usage[l].confidence[e], confidence[e].item<double>(), 1e-3);
      EXPECT_NEAR(usage[l].gate[e], gate[e].item<double>(), 1e-3);
    }
  }
}

TEST(Usage, CountsSourceTokensInTheEncoderAndTargetTokensInTheDecoder) {
  Saved saved({}, tiny_config());
  const std::vector<DirectionText> both = {text("en", "de", 70), text("de", "en", 30)};
  int64_t sources = 0, targets = 0;
  for (const MicroBatch& batch : batches_of(both[0], saved.vocabulary, 32)) {
    sources += batch.source_tokens;
    targets += std::ranges::count_if(batch.target_input, [](int32_t id) { return id != kPad; });
  }
  const std::vector<ExpertUsage> one = usage_of(saved, {both[0]}), other = usage_of(saved, {both[1]}),
                                 all = usage_of(saved, both);
  EXPECT_EQ(one[0].tokens, sources);
  EXPECT_EQ(one[1].tokens, targets);
  for (size_t l = 0; l < 2; ++l) {
    EXPECT_NE(one[l].chosen, other[l].chosen);
    for (size_t e = 0; e < 4; ++e) EXPECT_EQ(one[l].chosen[e] + other[l].chosen[e], all[l].chosen[e]);
  }
}

TEST(Usage, IsToldByLanguage) {
  Saved saved({}, tiny_config());
  const std::vector<DirectionText> both = {text("en", "de", 70), text("de", "en", 30)};
  const std::vector<ExpertUsage> one = usage_of(saved, {both[0]}), other = usage_of(saved, {both[1]}),
                                 all = usage_of(saved, both);
  for (size_t l = 0; l < 2; ++l) {
    const std::vector<ExpertUsage>&en = l == 0 ? one : other, &de = l == 0 ? other : one;  // source, target
    std::vector<int64_t> expected(8);
    std::ranges::copy(en[l].chosen, expected.begin() + 4 * saved.vocabulary.language("en"));
    std::ranges::copy(de[l].chosen, expected.begin() + 4 * saved.vocabulary.language("de"));
    EXPECT_EQ(all[l].by_language, expected);
  }
}

// ---- what is chosen

TEST(ExpertScores, AreTheCriteriaDividedByTheirSum) {
  ExpertUsage layer = {.tokens = 10,
                       .chosen = {6, 3, 1},
                       .first = {2, 8, 0},
                       .gate = {1.5, 1.5, 0},
                       .confidence = {1.8, 4, 0}};
  const std::vector<ExpertUsage> usage = {layer};
  const auto scores = [&](PruneBy by) { return expert_scores({3}, usage, {.by = by})[0]; };
  EXPECT_EQ(scores(PruneBy::utilization), (std::vector{0.6, 0.3, 0.1}));
  EXPECT_EQ(scores(PruneBy::gate), (std::vector{0.5, 0.5, 0.0}));
  const double a = 2 * std::exp(0.9), b = 8 * std::exp(0.5);
  EXPECT_NEAR(scores(PruneBy::importance)[0], a / (a + b), 1e-12);
  EXPECT_EQ(scores(PruneBy::importance)[2], 0);
  const auto random = [](uint64_t seed) {
    return expert_scores({3, 5}, {}, {.by = PruneBy::random, .seed = seed});
  };
  EXPECT_EQ(random(1), random(1));
  EXPECT_NE(random(1), random(2));
  const std::vector<double> second = random(1)[1];
  EXPECT_NEAR(std::accumulate(second.begin(), second.end(), 0.0), 1, 1e-12);
  layer = {.chosen = {0, 0}, .first = {0, 0}, .gate = {0, 0}, .confidence = {0, 0}};
  EXPECT_EQ(expert_scores({2}, {&layer, 1}, {})[0], (std::vector{0.5, 0.5})) << "no text came here";
}

TEST(ChooseExperts, TakesTheSameNumberOfEachLayer) {
  const std::vector<std::vector<double>> scores = {{0.1, 0.4, 0.2, 0.3}, {0.25, 0.25, 0.25, 0.25}};
  const auto choose = [&](double keep, int64_t least) {
    return choose_experts(scores, {.keep = keep, .least = least});
  };
  using Chosen = std::vector<std::vector<int64_t>>;
  EXPECT_EQ(choose(0.5, 1), (Chosen{{1, 3}, {0, 1}}));
  EXPECT_EQ(choose(0, 1), (Chosen{{1}, {0}}));
  EXPECT_EQ(choose(0, 3), (Chosen{{1, 2, 3}, {0, 1, 2}}));
  EXPECT_EQ(choose(0, 9), (Chosen{{0, 1, 2, 3}, {0, 1, 2, 3}}));
  EXPECT_EQ(choose(1, 1), (Chosen{{0, 1, 2, 3}, {0, 1, 2, 3}}));
}

/// How many of a layer reach a threshold, as 2212.09811 has it.
size_t reaching(std::vector<double> layer, double threshold, size_t least) {
  std::ranges::sort(layer, std::greater());
  size_t count = 0;
  for (double sum = 0; count < layer.size() && sum < threshold; ++count) sum += layer[count];
  return std::clamp(count, least, layer.size());
}

TEST(ChooseExperts, GloballyIsAThresholdThatAllLayersReach) {
  const std::vector<int64_t> counts = {8, 16, 5, 16};
  const auto scores = expert_scores(counts, {}, {.by = PruneBy::random, .seed = 3});
  for (const size_t total : {8U, 9U, 17U, 30U, 44U, 45U}) {
    const auto chosen_globally =
        choose_experts(scores, {.keep = static_cast<double>(total) / 45, .global = true, .least = 2});
    std::vector<size_t> sizes, expected;
    for (const auto& layer : chosen_globally) sizes.push_back(layer.size());
    for (int step = 0; step <= 100000; ++step) {
      expected.clear();
      for (const auto& layer : scores) expected.push_back(reaching(layer, step * 1.00001e-5, 2));
      if (std::accumulate(expected.begin(), expected.end(), size_t{0}) >= total) break;
    }
    EXPECT_EQ(sizes, expected) << total;
  }
}

// ---- what is written

TEST(Prune, KeepingAllIsACopy) {
  Saved saved({}, tiny_config());
  const fs::path out = saved.folder / "out";
  const PruneReport report = prune_model(saved.path, {}, {.keep = 1, .by = PruneBy::random}, out);
  EXPECT_TRUE(weights_of(out) == weights_of(saved.path));
  EXPECT_EQ(report.bytes_after, report.bytes_before);
  EXPECT_EQ(report.layers[1].name, "decoder.layers.1");
}

TEST(Prune, UndoesAMerge) {
  Saved saved({}, tiny_config());
  initialise(*saved.model, 8);
  saved.save(saved.folder / "b");
  const std::vector<fs::path> two = {saved.path, saved.folder / "b"};
  merge_models(two, DenseWeights::first, saved.folder / "united");
  prune_model(saved.folder / "united", chosen({9, 9, 9, 9, 1, 1, 1, 1}), {.keep = 0.5}, saved.folder / "out");
  EXPECT_TRUE(weights_of(saved.folder / "out") == weights_of(saved.path));
}

/// A model none of whose tokens wants experts 2 and 3.
struct Partial : Saved {
  explicit Partial() : Saved({}, summing_config(2)) {
    for (const size_t p : parameters_called(model->catalogue(), "ff_layer_norm.bias"))
      model->set(p, at::ones({12}));
    for (const size_t p : parameters_called(model->catalogue(), "router")) {
      at::Tensor router = model->parameters()[p].value.clone();
      router.narrow(0, 2, 2).fill_(-5);  // the inputs' mean is 1
      model->set(p, router);
    }
    save(folder / "partial");
  }
};

TEST(Prune, ChangesNothingForTextThatNeedsOnlyWhatStays) {
  Partial saved;
  const std::vector<ExpertUsage> usage = usage_of(saved, {text("en", "de", 40)});
  for (const PruneBy by : {PruneBy::utilization, PruneBy::importance, PruneBy::gate}) {
    const fs::path out = saved.folder / fmt::format("out-{}", static_cast<int>(by));
    const PruneReport report = prune_model(saved.folder / "partial", usage, {.keep = 0.5, .by = by}, out);
    EXPECT_EQ(report.layers[0].kept, (std::vector<int64_t>{0, 1}));
    EXPECT_EQ(report.layers[0].becomes, (std::vector<int64_t>{0, 1, -1, -1}));
    EXPECT_EQ(report.layers[0].assigned, std::vector(usage[0].chosen.begin(), usage[0].chosen.begin() + 2));
    const LoadedModel pruned = load_model(out, {});
    EXPECT_EQ(pruned.model->config().moe.experts, 2);
    expect_same_losses(losses(*pruned.model), losses(*saved.model));
    const int64_t expert = 2 * (12 * 10 + 10 + 10 * 12 + 12 + 12) * 2 * 4;  // bytes of two, in two layers
    EXPECT_NEAR(static_cast<double>(report.bytes_before - report.bytes_after), static_cast<double>(expert),
                4096)
        << "but for the header";
  }
}

TEST(Prune, GloballyLeavesLayersOfDifferentSize) {
  Saved saved({}, tiny_config());
  std::vector<ExpertUsage> usage = chosen({97, 1, 1, 1});
  usage[1] = chosen({5, 5, 6, 4})[0];
  const fs::path out = saved.folder / "out";
  prune_model(saved.path, usage, {.keep = 0.625, .global = true, .least = 1}, out);
  const LoadedModel pruned = load_model(out, {});
  EXPECT_EQ(pruned.model->config().layer_experts, (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(pruned.model->config().moe.top_k, 1);
  EXPECT_EQ(pruned.model->config().moe.experts, 4);
  const Catalogue &before = saved.model->catalogue(), &after = pruned.model->catalogue();
  for (size_t p = 0; p < after.parameters.size(); ++p) {
    const at::Tensor old = saved.model->parameters()[p].value;
    const bool cut = has(before.parameters[p].name, "encoder") && has_experts(before.parameters[p]);
    EXPECT_TRUE(at::equal(pruned.model->parameters()[p].value, cut ? old.narrow(0, 0, 1) : old))
        << before.parameters[p].name;
  }
  // Evaluation, and the step by step path of decoding.
  EXPECT_TRUE(std::isfinite(losses(*pruned.model).sum().item<double>()));
  EXPECT_TRUE(has(message_of<UserError>([&] { export_model(out, {}, saved.folder / "theirs"); }),
                  "different numbers of experts"));
  const auto refusal = [&](const nlohmann::json& counts) {
    edit_json(out / "config.json", [&](auto& json) { json["chorus"]["layer_experts"] = counts; });
    return message_of<UserError>([&] { load_model(out, {}); });
  };
  EXPECT_TRUE(has(refusal({1}), "1 number for 2 MoE layers"));
  EXPECT_TRUE(has(refusal({0, 4}), "layer_experts: 0 is outside"));
  EXPECT_TRUE(has(refusal({1, 5}), "layer_experts: 5 is outside"));
  EXPECT_TRUE(has(refusal("four"), "layer_experts has the wrong type"));
  EXPECT_TRUE(has(refusal({2, 4}), "shape [1, 12], not the [2, 12]"));
}

TEST(Prune, LeavesASingleExpertThatIsADenseModel) {
  Saved saved({}, summing_config(2));
  const fs::path out = saved.folder / "out";
  prune_model(saved.path, {}, {.keep = 0, .least = 1, .by = PruneBy::random}, out);
  export_model(out, {.format = Format::m2m100}, saved.folder / "theirs");
  import_model(saved.folder / "theirs", saved.folder / "back");
  expect_same_losses(losses(saved.folder / "back"), losses(out));
}

// ---- merging

/// Experts 2 and 3 are 0 and 1 with their hidden units in another order.
struct Twins : Saved {
  explicit Twins(Activation activation) : Saved({}, config(activation)) {
    const std::vector<int64_t> order = {3, 9, 0, 1, 8, 2, 7, 5, 6, 4};
    std::vector<int64_t> inputs = order;
    if (activation == Activation::swiglu)
      for (const int64_t unit : order) inputs.push_back(10 + unit);
    for (size_t p = 0; p < model->catalogue().parameters.size(); ++p) {
      const ParameterSpec& spec = model->catalogue().parameters[p];
      if (!has_experts(spec)) continue;
      const at::Tensor first = model->parameters()[p].value.narrow(0, 0, 2);
      const at::Tensor second = has(spec.name, "fc1")          ? first.index_select(1, at::tensor(inputs))
                                : has(spec.name, "fc2.weight") ? first.index_select(2, at::tensor(order))
                                                               : first;
      model->set(p, at::cat({first, second}));
    }
    save(folder / "twins");
  }
  static ModelConfig config(Activation activation) {
    ModelConfig config = summing_config(1);
    config.activation = activation;
    return config;
  }
};

TEST(PruneByMerging, PutsPermutedCopiesTogetherAgain) {
  for (const Activation activation : {Activation::relu, Activation::swiglu}) {
    Twins twins(activation);
    const fs::path out = twins.folder / "out";
    const PruneReport report = prune_model(twins.folder / "twins", chosen({5, 4, 1, 3}),
                                           {.keep = 0.5, .method = PruneMethod::merge}, out);
    EXPECT_EQ(report.layers[1].becomes, (std::vector<int64_t>{0, 1, 0, 1}));
    EXPECT_EQ(report.layers[1].assigned, (std::vector<int64_t>{6, 7}));
    const LoadedModel merged = load_model(out, {});
    for (size_t p = 0; p < merged.model->parameters().size(); ++p) {
      const ParameterSpec& spec = twins.model->catalogue().parameters[p];
      const at::Tensor before = twins.model->parameters()[p].value;
      EXPECT_TRUE(
          at::equal(merged.model->parameters()[p].value, has_experts(spec) ? before.narrow(0, 0, 2) : before))
          << spec.name;
    }
    expect_same_losses(losses(*merged.model), losses(*twins.model));
  }
}

TEST(PruneByMerging, AddsUpWhatEachLanguageChose) {
  Twins twins(Activation::relu);
  std::vector<ExpertUsage> usage = chosen({5, 4, 1, 3});
  usage[0].by_language = {1, 2, 0, 3, 4, 2, 1, 0};
  const PruneReport report = prune_model(twins.folder / "twins", usage,
                                         {.keep = 0.5, .method = PruneMethod::merge}, twins.folder / "out");
  EXPECT_EQ(report.layers[0].by_language, (std::vector<int64_t>{1, 5, 5, 2}));
  EXPECT_EQ(to_json(report)["load"][0]["by_language"], report.layers[0].by_language);
}

TEST(PruneByMerging, SaysHowManyExpertsAreMerged) {
  Twins twins(Activation::relu);
  std::vector<std::pair<int64_t, int64_t>> said;
  const auto progress = [&](int64_t merged, int64_t total) { said.emplace_back(merged, total); };
  const auto usage = chosen({5, 4, 1, 3});
  prune_model(twins.folder / "twins", usage, {.keep = 0.5, .method = PruneMethod::merge},
              twins.folder / "out", {}, progress);
  EXPECT_EQ(said, (std::vector<std::pair<int64_t, int64_t>>{{1, 4}, {2, 4}, {3, 4}, {4, 4}}))
      << "two in each of two layers";
  prune_model(twins.folder / "twins", usage, {.keep = 0.5}, twins.folder / "dropped", {}, progress);
  EXPECT_EQ(said.size(), 4U) << "what is dropped is not merged";
}

TEST(PruneByMerging, WeighsByUse) {
  Saved saved({}, tiny_config());
  const fs::path out = saved.folder / "out";
  prune_model(saved.path, chosen({0, 6, 0, 2}), {.keep = 0, .least = 1, .method = PruneMethod::merge}, out);
  const LoadedModel merged = load_model(out, {});
  for (const size_t p : parameters_called(saved.model->catalogue(), "router")) {
    const at::Tensor rows = saved.model->parameters()[p].value.to(at::kDouble);
    const at::Tensor expected = (rows[1] * 0.75 + rows[3] * 0.25).to(at::kFloat).unsqueeze(0);
    EXPECT_TRUE(at::equal(merged.model->parameters()[p].value, expected)) << "unused experts have no say";
  }
}

TEST(Prune, RefusesDenseModels) {
  ModelConfig dense = tiny_config();
  dense.moe.experts = 0;
  const Saved saved({}, dense);
  EXPECT_TRUE(has(message_of<UserError>(
                      [&] { prune_model(saved.path, {}, {.by = PruneBy::random}, saved.folder / "out"); }),
                  "dense"));
}

}  // namespace
}  // namespace chorus
