#include "architecture/config.h"

#include <algorithm>
#include <iterator>

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline architecture {

const std::vector<std::pair<std::string, Activation>> kActivations = {{"relu", Activation::relu},
                                                                      {"gelu", Activation::gelu},
                                                                      {"silu", Activation::silu},
                                                                      {"swiglu", Activation::swiglu},
                                                                      {"geglu", Activation::geglu}};

const std::vector<std::pair<std::string, Quantization>> kQuantizations = {
    {"none", Quantization::none}, {"int8", Quantization::int8}, {"int4", Quantization::int4}};

std::string name_of(Quantization type) {
  return std::ranges::find(kQuantizations, type, &std::pair<std::string, Quantization>::second)->first;
}

void describe(Schema& s, ModelConfig& c) {
  s.section("model", "the architecture");
  s.add("d_model", c.d_model, {.help = "width of the hidden states", .min = 2, .max = 65536});
  s.add("encoder_layers", c.encoder_layers, {.help = "encoder blocks", .min = 1, .max = 1024});
  s.add("decoder_layers", c.decoder_layers, {.help = "decoder blocks", .min = 1, .max = 1024});
  s.add("attention_heads", c.attention_heads,
        {.help = "heads; d_model must be a multiple", .min = 1, .max = 1024});
  s.add("ffn_dim", c.ffn_dim,
        {.help = "inner width of feed-forward layers and of each expert", .min = 1, .max = 1 << 20});
  s.add("activation", c.activation, kActivations, {.help = "non-linearity of feed-forward layers"});
  s.add("dropout", c.dropout, {.help = "on embeddings and sub-layer outputs", .min = 0, .max = 0.95});
  s.add("attention_dropout", c.attention_dropout,
        {.help = "on attention probabilities", .min = 0, .max = 0.95});
  s.add("activation_dropout", c.activation_dropout,
        {.help = "inside feed-forward layers and experts", .min = 0, .max = 0.95});
  s.add("layer_dropout", c.layer_dropout,
        {.help = "probability of skipping a block in training", .min = 0, .max = 0.95});
  s.add("max_positions", c.max_positions,
        {.help = "longest sequence", .unit = "tokens", .min = 8, .max = 1 << 20});
  describe(s, c.moe);
}

std::vector<int64_t> ModelConfig::expert_counts() const {
  if (!layer_experts.empty()) return layer_experts;
  int64_t layers = 0;
  for (int64_t i = 0; i < encoder_layers; ++i) layers += is_sparse(i, moe.encoder_every) ? 1 : 0;
  for (int64_t i = 0; i < decoder_layers; ++i) layers += is_sparse(i, moe.decoder_every) ? 1 : 0;
  return std::vector<int64_t>(layers, moe.experts);
}

void ModelConfig::set_expert_counts(const std::vector<int64_t>& counts) {
  moe.experts = std::ranges::max(counts);
  const bool alike = std::ranges::all_of(counts, [&](int64_t n) { return n == moe.experts; });
  layer_experts = alike ? std::vector<int64_t>() : counts;
}

std::vector<std::string> united_directions(const std::vector<std::string>& a,
                                           const std::vector<std::string>& b) {
  if (a.empty() || b.empty()) return {};
  std::vector<std::string> united = a;
  std::ranges::copy_if(b, std::back_inserter(united), [&](const std::string& direction) {
    return std::ranges::find(a, direction) == a.end();
  });
  return united;
}

void check(const ModelConfig& c) {
  if (c.head_dim == 0 && c.d_model % c.attention_heads != 0) {
    throw UserError("model.d_model = {} is not a multiple of model.attention_heads = {}", c.d_model,
                    c.attention_heads);
  }
  if (c.positions != Positions::relative && c.d_model % 2 != 0)
    throw UserError("model.d_model = {} must be even (sinusoidal positions)", c.d_model);
  if (c.positions == Positions::relative &&
      (c.relative_buckets < 4 || c.relative_max_distance <= c.relative_buckets / 2)) {
    throw UserError(
        "{} for relative positions up to a distance of {}: there must be 4 or more, and the distance "
        "more than half of them",
        counted(c.relative_buckets, "bucket"), c.relative_max_distance);
  }
  if (c.moe.experts > 0 && c.positions == Positions::marian)
    throw UserError("models of Marian's kind are dense: moe.experts = {} is none for them", c.moe.experts);
  if (c.moe.experts > 0 && c.moe.top_k > c.moe.experts) {
    throw UserError("moe.top_k = {} is more than moe.experts = {}", c.moe.top_k, c.moe.experts);
  }
  if (c.alignment_layer < -1 || c.alignment_layer >= c.decoder_layers || c.alignment_head < -1 ||
      c.alignment_head >= c.attention_heads) {
    throw UserError("alignments by head {} of decoder layer {}: the model has {} and {}, from 0",
                    c.alignment_head, c.alignment_layer, counted(c.attention_heads, "head"),
                    counted(c.decoder_layers, "layer"));
  }
  if (c.layer_experts.empty()) return;
  ModelConfig uniform = c;
  uniform.layer_experts.clear();
  if (const size_t layers = uniform.expert_counts().size(); layers != c.layer_experts.size()) {
    throw UserError("layer_experts has {} for {}", counted(c.layer_experts.size(), "number"),
                    counted(layers, "MoE layer"));
  }
  for (const int64_t experts : c.layer_experts) {
    if (experts < c.moe.top_k || experts > c.moe.experts)
      throw UserError("layer_experts: {} is outside moe.top_k = {} to moe.experts = {}", experts, c.moe.top_k,
                      c.moe.experts);
  }
}

}  // namespace chorus::inline architecture
