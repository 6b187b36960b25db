// The architecture: a pre-norm encoder-decoder Transformer, a superset of NLLB-MoE and M2M100.
//
// Embeddings are shared by encoder, decoder and output, and scaled by sqrt(d_model); positions are
// sinusoidal; every n-th block of a stack has an MoE layer in place of its feed-forward layer
// (moe.encoder_every, moe.decoder_every).
#pragma once

#include <nlohmann/json.hpp>

#include "chorus/base/options.h"
#include "chorus/kernels/activation.h"
#include "chorus/model/format.h"
#include "chorus/moe/config.h"

namespace chorus {

struct ModelConfig {
  int64_t vocabulary = 0;  // rows of the embedding; the vocabulary's size decides, not the run file
  int64_t d_model = 512;
  int64_t encoder_layers = 6;
  int64_t decoder_layers = 6;
  int64_t attention_heads = 8;
  int64_t ffn_dim = 2048;
  Activation activation = Activation::relu;
  double dropout = 0.1;           // on the embeddings and on each sub-layer's output
  double attention_dropout = 0;   // on the attention probabilities
  double activation_dropout = 0;  // inside feed-forward layers, experts included
  double layer_dropout = 0;       // probability of skipping a whole block in training
  int64_t max_positions = 1024;
  MoeConfig moe;

  /// Whether block `layer` of a stack whose every `every`-th block is sparse has an MoE layer.
  [[nodiscard]] bool is_sparse(int64_t layer, int64_t every) const {
    return moe.experts > 0 && every > 0 && (layer + 1) % every == 0;
  }
};

void describe(Schema& schema, ModelConfig& config);

/// Throws UserError where settings contradict each other (d_model not divisible by the heads, top_k above the
/// experts...).
void check(const ModelConfig& config);

/// config.json as transformers' class of the format reads it. UserError when the class cannot compute what
/// this model does; which key stands in the way.
nlohmann::json to_json(const ModelConfig& config, Format format);
/// config.json of a native folder: that of NLLB-MoE, with what it cannot express under "chorus".
nlohmann::json to_json(const ModelConfig& config);
/// The inverse of both, for folders we or transformers wrote. UserError names the key that is missing, out of
/// range, or asks for what this version does not compute.
ModelConfig model_config_from_json(const nlohmann::json& json);

}  // namespace chorus
