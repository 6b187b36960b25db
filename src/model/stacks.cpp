#include "model/internal/stacks.h"

#include <cmath>

namespace chorus::inline model {

namespace {

at::Tensor optional_input(std::span<const at::Tensor> inputs, size_t i) {
  return i < inputs.size() ? inputs[i] : at::Tensor();
}

/// The pass as a block sees it: statistics are not counted twice.
Pass once(Pass pass, bool again) {
  if (again) pass.statistics = nullptr;
  return pass;
}

Value run_embedding(Executor& executor, const Stacks& stacks, const at::Tensor& ids, Pass pass,
                    std::string_view stack) {
  pass.key = pass.key.derive(stack);
  return executor.run(0,
                      [=](auto, bool) {
                        return embed(stacks.weights, stacks.catalogue.embedding, ids, stacks.positions, 0,
                                     pass);
                      },
                      {});
}

/// One value for all blocks of a stack; none without relative positions.
std::vector<Value> run_position_bias(Executor& executor, const Weights& w, size_t table, int64_t length,
                                     bool causal, const at::Tensor& mask) {
  if (table == kNoParameter) return {};
  return {executor.run(0, [=](auto, bool) { return position_bias(w, table, 0, length, causal, mask); }, {})};
}

/// The end of a stack.
Value run_end(Executor& executor, const Stacks& stacks, const NormIndex& norm, const Value& x, double scale) {
  if (norm.weight == kNoParameter && scale == 1) return x;
  return executor.run(0, [=, &norm](auto in, bool) { return final_norm(stacks.weights, norm, in[0], scale); },
                      {x});
}

}  // namespace

double output_scale(const ModelConfig& config) {
  return config.scale_output ? 1 / std::sqrt(static_cast<double>(config.d_model)) : 1;
}

Value run_encoder(Executor& executor, const Stacks& stacks, const Side& source, const Pass& pass) {
  const Catalogue& catalogue = stacks.catalogue;
  Value x = run_embedding(executor, stacks, source.ids, pass, "encoder");
  const std::vector<Value> bias = run_position_bias(executor, stacks.weights, catalogue.encoder_positions,
                                                    source.ids.size(1), false, source.attention_mask);
  for (size_t i = 0; i < catalogue.encoder.size(); ++i) {
    std::vector<Value> inputs = {x};
    inputs.insert(inputs.end(), bias.begin(), bias.end());
    const LayerIndex& layer = catalogue.encoder[i];
    x = executor.run(
        layer.block,
        [=, &layer, &layers = catalogue.encoder](auto in, bool again) {
          expect_experts(stacks.weights, layers, i, in[0], source.active);
          return encoder_layer(stacks.weights, layer, in[0], optional_input(in, 1), source,
                               once(pass, again));
        },
        std::move(inputs));
  }
  return run_end(executor, stacks, catalogue.encoder_norm, x, 1);
}

Value run_decoder(Executor& executor, const Stacks& stacks, const Value& memory, const Side& source,
                  const Side& target, const Pass& pass) {
  const Catalogue& catalogue = stacks.catalogue;
  Value x = run_embedding(executor, stacks, target.ids, pass, "decoder");
  const std::vector<Value> bias =
      run_position_bias(executor, stacks.weights, catalogue.decoder_positions, target.ids.size(1), true, {});
  for (size_t i = 0; i < catalogue.decoder.size(); ++i) {
    std::vector<Value> inputs = {x, memory};
    inputs.insert(inputs.end(), bias.begin(), bias.end());
    const LayerIndex& layer = catalogue.decoder[i];
    x = executor.run(
        layer.block,
        [=, &layer, &layers = catalogue.decoder](auto in, bool again) {
          expect_experts(stacks.weights, layers, i, in[0], target.active);
          const at::Tensor own_bias = optional_input(in, 2);
          return decoder_layer(
              stacks.weights, layer,
              {.x = in[0], .memory = in[1], .bias = own_bias, .target = target, .source = source},
              once(pass, again));
        },
        std::move(inputs));
  }
  return run_end(executor, stacks, catalogue.decoder_norm, x, output_scale(stacks.weights.config));
}

}  // namespace chorus::inline model
