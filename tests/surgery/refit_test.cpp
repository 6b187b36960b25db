#include "surgery/refit.h"

#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include "surgery/fixtures.h"
#include "surgery/prune.h"

namespace chorus {
namespace {

std::vector<DirectionText> calibration_text() {
  std::vector<DirectionText> texts;
  for (const auto& [from, to] : {std::pair{"en", "de"}, {"de", "en"}}) {
    texts.push_back({.name = fmt::format("{}-{}", from, to),
                     .from = from,
                     .to = to,
                     .sources = sentences(from, 80),
                     .references = sentences(to, 80)});
  }
  return texts;
}

/// How far the outputs of each MoE layer are from those of the whole model: the sum of squares, for the text's tokens.
std::vector<double> errors(Transformer& pruned, Transformer& whole, const Vocabulary& vocabulary) {
  std::vector<double> sums(2);
  for (const DirectionText& text : calibration_text()) {
    for (const MicroBatch& batch : batches_of(text, vocabulary, 32)) {
      std::vector<RoutingRecord> ours(2), theirs(2);
      pruned.evaluate(pruned.to_batch(batch), {.routings = &ours, .dropless = true});
      whole.evaluate(whole.to_batch(batch), {.routings = &theirs, .dropless = true});
      for (size_t l = 0; l < 2; ++l) {
        const at::Tensor tokens = ours[l].routing.experts.select(1, 0).ge(0);
        sums[l] += (ours[l].output - theirs[l].output).index({tokens}).square().sum().item<double>();
      }
    }
  }
  return sums;
}

Refit fit_to(Saved& whole) {
  return [&whole](const fs::path& folder) {
    const LoadedModel pruned = load_model(folder, {});
    EXPECT_FALSE(pruned.model->config().quantization.any());
    return refit_outputs(*pruned.model, *whole.model, whole.vocabulary, calibration_text(), {});
  };
}

void prune_half(Saved& saved, const fs::path& model, const fs::path& out, bool refit) {
  prune_model(model, {}, {.keep = 0.5, .by = PruneBy::random}, out, refit ? fit_to(saved) : Refit());
}

TEST(Refit, BringsLayersNearerToThoseOfTheWholeModel) {
  ModelConfig dropped = summing_config(1);
  dropped.moe.expert_output_dropout = 0.2;
  ModelConfig gated = summing_config(1);
  gated.activation = Activation::swiglu;
  int number = 0;
  for (const ModelConfig& config : {summing_config(1), summing_config(2), tiny_config(), dropped, gated}) {
    Saved saved({}, config);
    const fs::path plain = saved.folder / "plain", fitted = saved.folder / "fitted";
    prune_half(saved, saved.path, plain, false);
    prune_half(saved, saved.path, fitted, true);
    const std::vector<double> before = errors(*load_model(plain, {}).model, *saved.model, saved.vocabulary),
                              after = errors(*load_model(fitted, {}).model, *saved.model, saved.vocabulary);
    for (size_t l = 0; l < 2; ++l) EXPECT_LT(after[l], 0.8 * before[l]) << "layer " << l << " of " << number;
    ++number;
  }
}

TEST(Refit, WhatALittleTextSaysHoldsForOther) {
  Saved saved({}, summing_config(1));
  const fs::path plain = saved.folder / "plain", fitted = saved.folder / "fitted";
  prune_half(saved, saved.path, plain, false);
  // Fewer tokens for an expert than it has hidden units.
  std::vector<DirectionText> little = calibration_text();
  for (DirectionText& text : little) {
    text.sources.resize(4);
    text.references.resize(4);
  }
  prune_model(saved.path, {}, {.keep = 0.5, .by = PruneBy::random}, fitted, [&](const fs::path& folder) {
    return refit_outputs(*load_model(folder, {}).model, *saved.model, saved.vocabulary, little, {});
  });
  const std::vector<double> before = errors(*load_model(plain, {}).model, *saved.model, saved.vocabulary),
                            after = errors(*load_model(fitted, {}).model, *saved.model, saved.vocabulary);
  for (size_t l = 0; l < 2; ++l) EXPECT_LT(after[l], before[l]) << "layer " << l;
}

TEST(Refit, NoOtherOutputMatrixIsNearer) {
  Saved saved({}, summing_config(1));
  const fs::path out = saved.folder / "out";
  prune_half(saved, saved.path, out, true);
  const LoadedModel fitted = load_model(out, {});
  const std::vector<double> best = errors(*fitted.model, *saved.model, saved.vocabulary);
  for (const size_t p : parameters_called(fitted.model->catalogue(), "fc2")) {
    const ParameterSpec& spec = fitted.model->catalogue().parameters[p];
    if (!has_experts(spec)) continue;
    at::Tensor& weight = fitted.model->parameters()[p].value;
    const at::Tensor value = weight;
    for (const double size : {-0.05, 0.05, -0.05, 0.05}) {
      weight = value + size * at::randn(value.sizes());  // the file's own are mapped
      const std::vector<double> other = errors(*fitted.model, *saved.model, saved.vocabulary);
      const size_t layer = has(spec.name, "encoder") ? 0 : 1;
      EXPECT_GT(other[layer], best[layer]) << spec.name;
    }
    weight = value;
  }
}

TEST(Refit, BringsTheLossNearer) {
  Saved saved({}, summing_config(2));
  const auto distance = [&](bool refit) {
    const fs::path out = saved.folder / (refit ? "fitted" : "plain");
    prune_half(saved, saved.path, out, refit);
    return (losses(out) - losses(*saved.model)).abs().sum().item<double>();
  };
  EXPECT_LT(distance(true), 0.8 * distance(false));
}

TEST(Refit, IsQuantizedAfterwards) {
  Saved saved({}, summing_config(1));
  const fs::path fitted = saved.folder / "fitted", types = saved.folder / "types";
  prune_half(saved, saved.path, fitted, true);
  quantize_model(fitted, {.experts = Quantization::int8}, types);
  const PruneOptions options = {.keep = 0.5, .by = PruneBy::random, .types = {.experts = Quantization::int8}};
  prune_model(saved.path, {}, options, saved.folder / "both", fit_to(saved));
  EXPECT_TRUE(weights_of(types) == weights_of(saved.folder / "both"));
  EXPECT_TRUE(has(message_of<UserError>([&] { prune_half(saved, types, saved.folder / "again", true); }),
                  "cannot be fitted"));
}

TEST(Refit, IsNothingWhereNothingIsLacking) {
  Saved saved({}, summing_config(1));
  const LoadedModel same = load_model(saved.path, {});
  const auto corrections = refit_outputs(*same.model, *saved.model, saved.vocabulary, calibration_text(), {});
  ASSERT_EQ(corrections.size(), 2U);
  for (const auto& layer : corrections) {
    ASSERT_EQ(layer.size(), 4U);
    for (const OutputCorrection& correction : layer) {
      if (!correction.weight.defined()) continue;  // no token came to it
      EXPECT_EQ(correction.weight.abs().max().item<double>(), 0);
      EXPECT_EQ(correction.bias.abs().max().item<double>(), 0);
    }
  }
  const Refit never = [](const fs::path&) -> std::vector<std::vector<OutputCorrection>> {
    ADD_FAILURE() << "nothing is dropped";
    return {};
  };
  prune_model(saved.path, {}, {.keep = 1, .by = PruneBy::random}, saved.folder / "out", never);
  EXPECT_TRUE(weights_of(saved.folder / "out") == weights_of(saved.path));
}

TEST(Refit, RefusesWeightsThatAreNotFinite) {
  Saved saved({}, summing_config(1));
  const LoadedModel broken = load_model(saved.path, {});
  for (const size_t p : parameters_called(broken.model->catalogue(), "fc2.bias")) {
    at::Tensor& value = broken.model->parameters()[p].value;
    value = at::full(value.sizes(), std::nan(""));
  }
  EXPECT_TRUE(has(message_of<UserError>([&] {
                    refit_outputs(*broken.model, *saved.model, saved.vocabulary, calibration_text(), {});
                  }),
                  "not finite"));
}

}  // namespace
}  // namespace chorus
