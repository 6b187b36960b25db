// M2M100 (2010.11125): dense, sinusoidal positions. transformers: M2M100ForConditionalGeneration.
#include "architecture/format.h"
#include "data/batch.h"

#include "architecture/internal/m2m100_family.h"

namespace chorus::inline architecture {

namespace {

/// Throws on what config.json asks for that would change results and this version does not compute.
void check_shared(const JsonReader& r) {
  for (const auto& [key, value] : {std::pair{"bos_token_id", kBos},
                                   {"pad_token_id", kPad},
                                   {"eos_token_id", kEos},
                                   {"decoder_start_token_id", kEos}}) {
    if (const auto given = r.get<int64_t>(key, value); given != value)
      throw UserError("config.json: {} = {}; this version reads models where it is {}", key, given, value);
  }
  if (!r.get("scale_embedding", true))
    throw UserError("config.json: scale_embedding is false; this version scales embeddings by sqrt(d_model)");
}

nlohmann::json m2m100_json(const ModelConfig& config) {
  nlohmann::json json = m2m100_family_json(config);
  json.update({{"architectures", {"M2M100ForConditionalGeneration"}}, {"model_type", "m2m_100"}});
  return json;
}

std::vector<std::string> m2m100_reasons(const ModelConfig& c) {
  std::vector<std::string> reasons = m2m100_family_reasons(c);
  if (!c.expert_counts().empty() && c.moe.experts > 1)
    reasons.push_back(fmt::format("it is dense, and the MoE layers have {} experts", c.moe.experts));
  return reasons;
}

}  // namespace

std::string m2m100_family_name(std::string name) {
  replace_in(
      name,
      {{".cross_attention", ".encoder_attn"}, {".ff_layer_norm", ".final_layer_norm"}, {".ffn.fc", ".fc"}});
  return name;
}

nlohmann::json m2m100_family_json(const ModelConfig& c) {
  return {
      {"is_encoder_decoder", true},
      {"vocab_size", c.vocabulary},
      {"d_model", c.d_model},
      {"encoder_layers", c.encoder_layers},
      {"decoder_layers", c.decoder_layers},
      {"num_hidden_layers", c.encoder_layers},
      {"encoder_attention_heads", c.attention_heads},
      {"decoder_attention_heads", c.attention_heads},
      {"encoder_ffn_dim", c.ffn_dim},
      {"decoder_ffn_dim", c.ffn_dim},
      {"activation_function", name_of(kActivations, c.activation)},
      {"dropout", c.dropout},
      {"attention_dropout", c.attention_dropout},
      {"activation_dropout", c.activation_dropout},
      {"encoder_layerdrop", c.layer_dropout},
      {"decoder_layerdrop", c.layer_dropout},
      {"max_position_embeddings", c.max_positions},
      {"scale_embedding", true},
      {"bos_token_id", kBos},
      {"pad_token_id", kPad},
      {"eos_token_id", kEos},
      {"decoder_start_token_id", kEos},
      {"tie_word_embeddings", true},
      {"torch_dtype", "float32"},
  };
}

void read_m2m100_family(const JsonReader& r, ModelConfig& c) {
  check_shared(r);
  read_m2m100_family_shape(r, c);
  c.activation =
      value_of(kActivations, "activation_function", r.get<std::string>("activation_function", "relu"));
}

void read_m2m100_family_shape(const JsonReader& r, ModelConfig& c) {
  c.vocabulary = r.count("vocab_size", 5, int64_t{1} << 31);
  c.d_model = r.count("d_model", 2, 65536);
  c.encoder_layers = r.count("encoder_layers", 1, 1024);
  c.decoder_layers = r.count("decoder_layers", 1, 1024);
  c.attention_heads = r.count("encoder_attention_heads", 1, 1024);
  c.ffn_dim = r.count("encoder_ffn_dim", 1, kLarge);
  if (r.count("decoder_attention_heads", 1, 1024) != c.attention_heads ||
      r.count("decoder_ffn_dim", 1, kLarge) != c.ffn_dim) {
    throw UserError(
        "config.json: encoder and decoder differ in heads or ffn_dim, which this version does not support");
  }
  c.dropout = r.fraction("dropout", 0.1);
  c.attention_dropout = r.fraction("attention_dropout", 0.1);
  c.activation_dropout = r.fraction("activation_dropout", 0.0);
  c.layer_dropout = r.fraction("encoder_layerdrop", 0.0);
  c.max_positions = r.count("max_position_embeddings", 8, kLarge);
}

std::vector<std::string> m2m100_family_reasons(const ModelConfig& c) {
  std::vector<std::string> reasons;
  if (is_gated(c.activation))
    reasons.push_back(
        fmt::format("model.activation = {}, which it lacks", name_of(kActivations, c.activation)));
  if (!c.expert_counts().empty() && c.moe.evaluation_capacity_factor > 0) {
    reasons.push_back(
        fmt::format("moe.evaluation_capacity_factor = {}, where that format's evaluation drops nothing",
                    c.moe.evaluation_capacity_factor));
  }
  return reasons;
}

const Architecture kM2m100 = {.format = Format::m2m100,
                              .name = "m2m100",
                              .model_types = {"m2m_100"},
                              .positions = Positions::sinusoidal,
                              .dense = true,
                              .stored_name = m2m100_family_name,
                              .to_json = m2m100_json,
                              .read = read_m2m100_family,
                              .reasons_against = m2m100_reasons};

}  // namespace chorus::inline architecture
