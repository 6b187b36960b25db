#include "chorus/model/transformer.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include "model/fixtures.h"

namespace chorus {
namespace {

double loss_of(Transformer& model, const MicroBatch& micro_batch, const Pass& pass,
               const Transformer::TrainOptions& options) {
  for (Parameter& p : model.parameters()) p.has_gradient = false;
  const LossSums sums = model.train(model.to_batch(micro_batch), pass, options);
  return sums.loss * options.gradient_scale;
}

TEST(Transformer, GradientsEqualFiniteDifferences) {
  at::set_num_threads(1);  // thousands of tiny operators: threads would only wait for each other
  for (const int64_t top_k : {1, 2}) {
    ModelConfig config = tiny_config();
    config.moe.top_k = top_k;
    config.moe.balance_loss = 0;  // its loss is not part of the returned loss
    config.moe.z_loss = 0;
    config.activation = top_k == 1 ? Activation::gelu : Activation::swiglu;
    Transformer model(config, {.compute = at::kDouble, .gradients = true});
    initialise(model, 5);
    const MicroBatch batch = tiny_batch(4, 7, 6, config.vocabulary);
    const Pass pass = {.training = true, .key = RandomKey(3)};
    const Transformer::TrainOptions options = {.label_smoothing = 0.1, .gradient_scale = 0.25};
    loss_of(model, batch, pass, options);
    std::vector<at::Tensor> gradients;
    for (Parameter& p : model.parameters())
      gradients.push_back(p.has_gradient ? p.gradient.clone() : at::zeros_like(p.gradient));

    const double epsilon = 1e-6;
    for (size_t i = 0; i < model.parameters().size(); ++i) {
      const at::Tensor value = model.parameters()[i].value.detach().view(-1);
      const int64_t n = value.numel();
      for (const int64_t element : {int64_t{0}, n / 3, n / 2, n - 1}) {
        const double before = value[element].item<double>();
        value[element].fill_(before + epsilon);
        const double up = loss_of(model, batch, pass, options);
        value[element].fill_(before - epsilon);
        const double down = loss_of(model, batch, pass, options);
        value[element].fill_(before);
        const double expected = (up - down) / (2 * epsilon),
                     actual = gradients[i].view(-1)[element].item<double>();
        // A row of padding in the embedding has no gradient by definition.
        if (model.catalogue().parameters[i].name == "shared.weight" && element / config.d_model == kPad)
          continue;
        EXPECT_NEAR(actual, expected, 1e-6 + 1e-4 * std::abs(expected))
            << model.catalogue().parameters[i].name << "[" << element << "]";
      }
    }
  }
}

TEST(Transformer, RecomputingGivesTheSameGradientsBitForBit) {
  ModelConfig config = tiny_config();
  config.layer_dropout = 0.3;
  Transformer model(config, {.gradients = true});
  initialise(model, 5);
  const MicroBatch batch = tiny_batch(4, 7, 6, config.vocabulary);
  std::vector<MoeStatistics> statistics(model.catalogue().sparse_layers());
  Pass pass = {.training = true, .key = RandomKey(3), .statistics = &statistics};
  const double kept = loss_of(model, batch, pass, {});
  std::vector<at::Tensor> gradients;
  for (Parameter& p : model.parameters())
    gradients.push_back(p.has_gradient ? p.gradient.clone() : at::Tensor());
  const int64_t tokens = statistics[0].tokens;
  statistics.assign(statistics.size(), {});
  EXPECT_EQ(loss_of(model, batch, pass, {.recompute = true}), kept);
  EXPECT_EQ(statistics[0].tokens, tokens) << "a block that is run again must not count twice";
  for (size_t i = 0; i < gradients.size(); ++i) {
    const Parameter& p = model.parameters()[i];
    ASSERT_EQ(p.has_gradient, gradients[i].defined());
    if (p.has_gradient) {
      EXPECT_TRUE(at::equal(p.gradient, gradients[i])) << model.catalogue().parameters[i].name;
    }
  }
}

TEST(Transformer, PaddingChangesNothing) {
  ModelConfig config = tiny_config();
  Transformer model(config, {.compute = at::kDouble});
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
  Transformer model(config, {.compute = at::kDouble});
  initialise(model, 5);
  const MicroBatch micro_batch = tiny_batch(3, 7, 6, config.vocabulary);
  const Batch batch = model.to_batch(micro_batch);
  const LossSums whole = model.evaluate(batch, {.per_token = true});
  DecoderState state = model.start_decoding(model.encode(batch.source), batch.source.attention_mask, 6);
  for (int64_t t = 0; t < 6; ++t) {
    const at::Tensor logp = at::log_softmax(model.decode_step(state, batch.target.ids.select(1, t)), -1);
    for (int64_t row = 0; row < 3; ++row) {
      const auto label = batch.labels[row * 6 + t].item<int64_t>();
      if (label != kPad) {
        EXPECT_NEAR(-logp[row][label].item<double>(), whole.token_nll[row][t].item<double>(), 1e-5);
      }
    }
  }
  EXPECT_THROW(model.decode_step(state, batch.target.ids.select(1, 0)), Error);
}

TEST(Transformer, ReorderedStatesGoOnAsTheRowsTheyCameFrom) {
  const ModelConfig config = tiny_config();
  Transformer model(config, {});
  initialise(model, 5);
  const Batch batch = model.to_batch(tiny_batch(3, 7, 6, config.vocabulary));
  DecoderState state = model.start_decoding(model.encode(batch.source), batch.source.attention_mask, 4);
  model.decode_step(state, batch.target.ids.select(1, 0));
  DecoderState other = model.start_decoding(model.encode(batch.source), batch.source.attention_mask, 4);
  model.decode_step(other, batch.target.ids.select(1, 0));
  const at::Tensor index = at::tensor(std::vector<int64_t>{2, 0, 2});
  Transformer::reorder(other, index, index);
  const at::Tensor expected = model.decode_step(state, batch.target.ids.select(1, 1)).index_select(0, index);
  const at::Tensor actual = model.decode_step(other, batch.target.ids.select(1, 1).index_select(0, index));
  EXPECT_TRUE(at::allclose(actual, expected, 1e-5, 1e-6));
}

TEST(Transformer, SentencesBeyondMaxPositionsAreRefused) {
  const ModelConfig config = tiny_config();
  const Transformer model(config, {});
  EXPECT_THROW((void)model.to_batch(tiny_batch(1, config.max_positions + 1, 4, config.vocabulary)),
               UserError);
}

TEST(Transformer, Bfloat16IsNearFloat) {
  const ModelConfig config = tiny_config();
  Transformer wide(config, {}), narrow(config, {.compute = at::kBFloat16});
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
