#include "model/transformer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "gradient_check.h"
#include "model/fixtures.h"
#include "model/step_decoder.h"
#include "suite_device.h"

namespace chorus {
namespace {

/// One training pass; the loss as the gradients see it, with the auxiliary losses as the statistics report
/// them.
double loss_of(Transformer& model, const MicroBatch& micro_batch, Pass pass,
               const Transformer::TrainOptions& options) {
  for (Parameter& p : model.parameters()) p.has_gradient = false;
  std::vector<MoeStatistics> statistics(model.catalogue().sparse_layers());
  if (!pass.statistics) pass.statistics = &statistics;
  double loss = model.train(model.to_batch(micro_batch), pass, options).loss * options.gradient_scale;
  for (const MoeStatistics& layer : *pass.statistics)
    loss += pass.auxiliary_scale *
            (model.config().moe.balance_loss * layer.balance_loss + model.config().moe.z_loss * layer.z_loss);
  return loss;
}

/// What of a layer can differ in backward: dense, each number of choices, selection, gates, activation.
std::vector<ModelConfig> various_configs() {
  using enum TokenSelection;
  using enum GateNormalization;
  std::vector<ModelConfig> configs;
  for (const auto& [top_k, capacity, selection, gates, kind, sparse] :
       {std::tuple{1, 1.0, random, none, Activation::relu, 4},
        {1, 0.5, position, after_drop, Activation::gelu, 4},
        {2, 1.0, probability, before_drop, Activation::swiglu, 4},
        {2, 0.5, random, after_drop, Activation::relu, 4},
        {3, 0.7, position, none, Activation::gelu, 5},
        {2, 0.0, position, before_drop, Activation::relu, 64},  // most experts empty
        {1, 1.0, random, none, Activation::swiglu, 0}}) {
    ModelConfig config = tiny_config();
    config.activation = kind;
    config.layer_dropout = 0.2;
    config.moe.experts = sparse;
    config.moe.encoder_every = 1;
    config.moe.top_k = top_k;
    config.moe.capacity_factor = capacity;
    config.moe.selection = selection;
    config.moe.gate_normalization = gates;
    config.moe.jitter = 0.1;
    config.moe.balance_loss = 0.3;
    config.moe.z_loss = 0.1;
    config.moe.expert_output_dropout = top_k == 1 ? 0.2 : 0;
    configs.push_back(config);
  }
  configs.push_back(configs[3]);
  configs.back().post_norm = true;
  configs.push_back(marian_config());
  configs.back().decoder_start = kEos;  // no gradient goes to the embedding of padding, with which it starts
  return configs;
}

TEST(Transformer, GradientsEqualFiniteDifferences) {
  at::set_num_threads(1);  // thousands of tiny operators: threads would only wait for each other
  std::vector<ModelConfig> configs = various_configs();
  // A device takes long for tiny operators: there, one model and every fifth of its weights.
  const size_t stride = suite_device().is_cpu() ? 1 : 5;
  if (stride > 1) configs = {configs[3]};
  for (const ModelConfig& config : configs) {
    SCOPED_TRACE(to_json(config).dump());
    Transformer model(config, {.device = suite_device(), .compute = at::kDouble, .gradients = true});
    initialise(model, 5);
    const MicroBatch batch = tiny_batch(4, 7, 6, config.vocabulary);
    const Pass pass = {.training = true, .key = RandomKey(3), .auxiliary_scale = 0.5};
    const Transformer::TrainOptions options = {.label_smoothing = 0.1, .gradient_scale = 0.25};
    loss_of(model, batch, pass, options);
    std::vector<Slope> slopes;
    for (size_t i = 0; i < model.parameters().size(); i += stride) {
      const Parameter& p = model.parameters()[i];
      slopes.push_back({model.catalogue().parameters[i].name, p.value,
                        p.has_gradient ? p.gradient.clone() : at::zeros_like(p.gradient)});
    }
    expect_slopes([&] { return loss_of(model, batch, pass, options); }, slopes, 1);
  }
}

TEST(Transformer, RecomputingGivesTheSameGradientsBitForBit) {
  if (!repeats_bits()) GTEST_SKIP();
  for (const ModelConfig& config : various_configs()) {
    for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
      SCOPED_TRACE(testing::Message() << to_json(config).dump() << compute);
      Transformer model(config, {.device = suite_device(), .compute = compute, .gradients = true});
      initialise(model, 5);
      const MicroBatch batch = tiny_batch(4, 7, 6, config.vocabulary);
      std::vector<MoeStatistics> statistics(model.catalogue().sparse_layers());
      const Pass pass = {.training = true, .key = RandomKey(3), .statistics = &statistics};
      const double kept = loss_of(model, batch, pass, {});
      std::vector<at::Tensor> gradients;
      for (Parameter& p : model.parameters())
        gradients.push_back(p.has_gradient ? p.gradient.clone() : at::Tensor());
      const std::vector<MoeStatistics> counted = statistics;
      statistics.assign(statistics.size(), {});
      EXPECT_EQ(loss_of(model, batch, pass, {.recompute = true}), kept);
      for (size_t i = 0; i < statistics.size(); ++i)
        EXPECT_EQ(statistics[i].tokens, counted[i].tokens) << "a block that runs again must not count twice";
      for (size_t i = 0; i < gradients.size(); ++i) {
        const Parameter& p = model.parameters()[i];
        ASSERT_EQ(p.has_gradient, gradients[i].defined());
        if (p.has_gradient) {
          EXPECT_TRUE(at::equal(p.gradient, gradients[i])) << model.catalogue().parameters[i].name;
        }
      }
    }
  }
}

TEST(Transformer, PaddingChangesNothing) {
  ModelConfig config = tiny_config();
  Transformer model(config, {.device = suite_device(), .compute = at::kDouble});
  initialise(model, 5);
  MicroBatch batch = tiny_batch(3, 7, 6, config.vocabulary);
  const LossSums together = model.evaluate(model.to_batch(batch), {.per_token = true});
  for (int64_t row = 0; row < batch.rows; ++row) {
    const MicroBatch alone = single_row(batch, row);
    const LossSums sums = model.evaluate(model.to_batch(alone), {.per_token = true});
    const at::Tensor of_batch = together.token_nll[row].narrow(0, 0, alone.target_length);
    EXPECT_TRUE(at::allclose(of_batch, sums.token_nll[0], 1e-5, 1e-6)) << "row " << row;
  }
}

TEST(Transformer, DecodingStepByStepEqualsTheWholePass) {
  const ModelConfig config = tiny_config();
  Transformer model(config, {.device = suite_device(), .compute = at::kDouble});
  initialise(model, 5);
  const MicroBatch micro_batch = tiny_batch(3, 7, 6, config.vocabulary);
  const Batch batch = model.to_batch(micro_batch);
  const LossSums whole = model.evaluate(batch, {.per_token = true});
  const auto decoder = make_step_decoder(model);
  const auto state = decoder->start(decoder->encode(batch.source), batch.source.attention_mask, 6);
  for (int64_t t = 0; t < 6; ++t) {
    const at::Tensor logp = at::log_softmax(state->step(batch.target.ids.select(1, t)), -1);
    for (int64_t row = 0; row < 3; ++row) {
      const auto label = batch.labels[row * 6 + t].item<int64_t>();
      if (label != kPad) {
        EXPECT_NEAR(-logp[row][label].item<double>(), whole.token_nll[row][t].item<double>(), 1e-5);
      }
    }
  }
  EXPECT_THROW(state->step(batch.target.ids.select(1, 0)), Error);
}

TEST(Transformer, ReorderedStatesGoOnAsTheRowsTheyCameFrom) {
  const ModelConfig config = tiny_config();
  Transformer model(config, {.device = suite_device()});
  initialise(model, 5);
  const Batch batch = model.to_batch(tiny_batch(3, 7, 6, config.vocabulary));
  const auto decoder = make_step_decoder(model);
  const auto state = decoder->start(decoder->encode(batch.source), batch.source.attention_mask, 4);
  state->step(batch.target.ids.select(1, 0));
  const auto other = decoder->start(decoder->encode(batch.source), batch.source.attention_mask, 4);
  other->step(batch.target.ids.select(1, 0));
  const at::Tensor index = there(at::tensor(std::vector<int64_t>{2, 0, 2}));
  other->reorder(index, index);
  const at::Tensor expected = state->step(batch.target.ids.select(1, 1)).index_select(0, index);
  const at::Tensor actual = other->step(batch.target.ids.select(1, 1).index_select(0, index));
  EXPECT_TRUE(at::allclose(actual, expected, 1e-5, 1e-6));
}

TEST(Transformer, SentencesBeyondMaxPositionsAreRefused) {
  const ModelConfig config = tiny_config();
  const Transformer model(config, {.device = suite_device()});
  EXPECT_THROW((void)model.to_batch(tiny_batch(1, config.max_positions + 1, 4, config.vocabulary)),
               UserError);
}

TEST(Transformer, Bfloat16IsNearFloat) {
  const ModelConfig config = tiny_config();
  Transformer wide(config, {.device = suite_device()}),
      narrow(config, {.device = suite_device(), .compute = at::kBFloat16});
  initialise(wide, 5);
  initialise(narrow, 5);
  const MicroBatch batch = tiny_batch(4, 9, 9, config.vocabulary);
  const double expected = wide.evaluate(wide.to_batch(batch), {}).loss;
  EXPECT_NEAR(narrow.evaluate(narrow.to_batch(batch), {}).loss, expected, 0.02 * expected);
  for (size_t i = 0; i < narrow.parameters().size(); ++i) {
    EXPECT_EQ(narrow.parameters()[i].value.scalar_type(),
              narrow.catalogue().parameters[i].fp32 ? at::kFloat : at::kBFloat16);
  }
}

}  // namespace
}  // namespace chorus
