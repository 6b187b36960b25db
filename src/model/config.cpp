#include "chorus/model/config.h"

#include "chorus/base/error.h"

namespace chorus {

namespace {

const std::vector<std::pair<std::string, Activation>> kActivations = {
    {"relu", Activation::relu}, {"gelu", Activation::gelu}, {"swiglu", Activation::swiglu}};

template <class Enum>
std::string name_of(const std::vector<std::pair<std::string, Enum>>& names, Enum value) {
  for (const auto& [name, candidate] : names) {
    if (candidate == value) return name;
  }
  throw Error("unnamed choice {}", static_cast<int>(value));
}

template <class Enum>
Enum value_of(const std::vector<std::pair<std::string, Enum>>& names, const std::string& key,
              const std::string& text) {
  for (const auto& [name, value] : names) {
    if (name == text) return value;
  }
  throw UserError("config.json: {} is '{}', which this version does not know", key, text);
}

/// Typed reads from a JSON object that is not trusted.
struct Reader {
  const nlohmann::json& json;

  template <class T>
  [[nodiscard]] T get(const char* key, const T& fallback) const {
    const auto it = json.find(key);
    if (it == json.end() || it->is_null()) return fallback;
    try {
      return it->get<T>();
    } catch (const nlohmann::json::exception&) {
      throw UserError("config.json: {} has the wrong type: {}", key, it->dump());
    }
  }
  [[nodiscard]] int64_t count(const char* key, int64_t low, int64_t high) const {
    const auto it = json.find(key);
    if (it == json.end() || !it->is_number_integer())
      throw UserError("config.json: {} is missing or not a whole number", key);
    const auto value = it->get<int64_t>();
    if (value < low || value > high)
      throw UserError("config.json: {} = {} is outside {} to {}", key, value, low, high);
    return value;
  }
};

}  // namespace

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

void check(const ModelConfig& c) {
  if (c.d_model % c.attention_heads != 0) {
    throw UserError("model.d_model = {} is not a multiple of model.attention_heads = {}", c.d_model,
                    c.attention_heads);
  }
  if (c.d_model % 2 != 0)
    throw UserError("model.d_model = {} must be even (sinusoidal positions)", c.d_model);
  if (c.moe.experts > 0 && c.moe.top_k > c.moe.experts) {
    throw UserError("moe.top_k = {} is more than moe.experts = {}", c.moe.top_k, c.moe.experts);
  }
}

nlohmann::json to_json(const ModelConfig& c) {
  const bool sparse = c.moe.experts > 0;
  return {
      {"architectures", {"NllbMoeForConditionalGeneration"}},
      {"model_type", "nllb-moe"},
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
      {"encoder_sparse_step", sparse ? c.moe.encoder_every : 0},
      {"decoder_sparse_step", sparse ? c.moe.decoder_every : 0},
      {"num_experts", std::max<int64_t>(c.moe.experts, 1)},
      {"activation_function", name_of(kActivations, c.activation)},
      {"dropout", c.dropout},
      {"attention_dropout", c.attention_dropout},
      {"activation_dropout", c.activation_dropout},
      {"encoder_layerdrop", c.layer_dropout},
      {"decoder_layerdrop", c.layer_dropout},
      {"max_position_embeddings", c.max_positions},
      {"scale_embedding", true},
      {"router_bias", false},
      {"router_dtype", "float32"},
      {"router_ignore_padding_tokens", false},
      {"router_z_loss_coef", c.moe.z_loss},
      {"router_aux_loss_coef", c.moe.balance_loss},
      {"moe_token_dropout", c.moe.expert_output_dropout},
      {"moe_eval_capacity_token_fraction", 1.0},
      {"second_expert_policy", "all"},
      {"batch_prioritized_routing", false},
      {"normalize_router_prob_before_dropping", c.moe.gate_normalization == GateNormalization::before_drop},
      {"bos_token_id", 0},
      {"pad_token_id", 1},
      {"eos_token_id", 2},
      {"decoder_start_token_id", 2},
      {"max_length", 200},
      {"tie_word_embeddings", true},
      {"torch_dtype", "float32"},
      {"chorus",
       {{"format", 1},
        {"experts", c.moe.experts},
        {"top_k", c.moe.top_k},
        {"evaluation_capacity_factor", c.moe.evaluation_capacity_factor},
        {"gate_normalization", name_of(kGateNormalizations, c.moe.gate_normalization)}}},
  };
}

ModelConfig model_config_from_json(const nlohmann::json& json) {
  if (!json.is_object()) throw UserError("config.json: not a JSON object");
  const Reader r{json};
  const auto type = r.get<std::string>("model_type", "");
  if (type != "nllb-moe" && type != "nllb_moe") {
    throw UserError("config.json: model_type is '{}'; this version reads 'nllb-moe'", type);
  }
  constexpr int64_t kLarge = 1 << 20;
  ModelConfig c;
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
  c.activation =
      value_of(kActivations, "activation_function", r.get<std::string>("activation_function", "relu"));
  c.dropout = r.get("dropout", 0.1);
  c.attention_dropout = r.get("attention_dropout", 0.0);
  c.activation_dropout = r.get("activation_dropout", 0.0);
  c.layer_dropout = r.get("encoder_layerdrop", 0.0);
  c.max_positions = r.count("max_position_embeddings", 8, kLarge);
  c.moe.experts = r.count("num_experts", 1, 65536);
  c.moe.encoder_every = r.count("encoder_sparse_step", 0, 1024);
  c.moe.decoder_every = r.count("decoder_sparse_step", 0, 1024);
  c.moe.expert_output_dropout = r.get("moe_token_dropout", 0.2);
  c.moe.z_loss = r.get("router_z_loss_coef", 0.001);
  c.moe.balance_loss = r.get("router_aux_loss_coef", 0.001);
  c.moe.top_k = std::min<int64_t>(2, c.moe.experts);
  c.moe.gate_normalization = r.get("normalize_router_prob_before_dropping", false)
                                 ? GateNormalization::before_drop
                                 : GateNormalization::after_drop;
  if (const auto own = json.find("chorus"); own != json.end() && own->is_object()) {
    const Reader o{*own};
    if (o.count("format", 1, kLarge) != 1) {
      throw UserError("config.json: written by a later version of chorus (chorus.format = {})",
                      (*own)["format"].dump());
    }
    c.moe.experts = o.count("experts", 0, 65536);
    c.moe.top_k = o.count("top_k", 1, 64);
    c.moe.evaluation_capacity_factor = o.get("evaluation_capacity_factor", 0.0);
    c.moe.gate_normalization = value_of(kGateNormalizations, "chorus.gate_normalization",
                                        o.get<std::string>("gate_normalization", "none"));
  }
  check(c);
  return c;
}

}  // namespace chorus
