// What a model costs: parameters by role, arithmetic per token, memory. Pure functions of the configuration.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "architecture/config.h"

namespace chorus::inline layout {

/// Elements, by what they are for; "active" counts those that serve one token: top_k experts of a layer.
struct ParameterCount {
  int64_t embedding = 0;  // of encoder and decoder, and the output layer where it has its own
  int64_t dense = 0;      // attention, norms, dense feed-forward layers
  int64_t router = 0;
  int64_t experts = 0;
  int64_t active_experts = 0;
  [[nodiscard]] int64_t total() const { return embedding + dense + router + experts; }
  [[nodiscard]] int64_t active() const { return embedding + dense + router + active_experts; }
};

struct LayerCost {
  std::string name;  // "encoder.layers.3"
  bool sparse = false;
  ParameterCount parameters;
  double source_flops = 0;  // forward, for one token of the source
  double target_flops = 0;  // forward, for one of the target
};

struct ModelCost {
  int64_t length = 0;             // of source and target that attention is counted for
  ParameterCount parameters;      // of the whole model, the two last norms and relative positions included
  std::vector<LayerCost> layers;  // encoder first
  double output_flops = 0;        // of the output layer, forward, for one token of the target
  double source_flops = 0;        // sums over the layers, and the output layer
  double target_flops = 0;

  /// Forward for a source and a target token; backward costs twice as much.
  [[nodiscard]] double forward_flops() const { return source_flops + target_flops; }
  [[nodiscard]] double training_flops() const { return 3 * forward_flops(); }
};

/// Counts a multiplication and an addition as two operations, and matrix products only. A source token meets
/// the encoder and the decoder's keys and values for it; attention is counted for sentences of `length`
/// tokens, of which a target token sees half on average.
ModelCost cost_of(const ModelConfig& config, int64_t length);

/// Bytes that the weights take, without activations.
struct ModelMemory {
  int64_t inference = 0;
  int64_t training = 0;  // also gradients (fp32), two moments (fp32) and, for bf16 weights, fp32 masters
};
ModelMemory memory_of(const ParameterCount& parameters, bool bf16);

}  // namespace chorus::inline layout
