#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/base/json.h"
#include "chorus/data/batch.h"
#include "chorus/model/config.h"
#include "chorus/model/exports.h"

namespace chorus {

namespace {

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

constexpr int64_t kFormatVersion = 1, kLarge = 1 << 20;

/// What T5 calls one of our special tokens (ParameterSpec::row_shift).
int64_t t5_id(SpecialToken token) {
  return token - 1;
}

/// Typed reads from a JSON object that is not trusted.
struct Reader {
  const nlohmann::json& json;

  template <class T>
  [[nodiscard]] T get(const char* key, const T& fallback) const {
    const auto it = json.find(key);
    if (it == json.end() || it->is_null()) return fallback;
    const std::optional<T> value = exactly<T>(*it);
    if (!value) throw UserError("config.json: {} has the wrong type: {}", key, in_quotes(it->dump()));
    return *value;
  }
  [[nodiscard]] bool has(const char* key) const {
    const auto it = json.find(key);
    return it != json.end() && !it->is_null();
  }
  [[nodiscard]] int64_t count(const char* key, int64_t low, int64_t high) const {
    const auto it = json.find(key);
    const std::optional<int64_t> value = it != json.end() ? exactly<int64_t>(*it) : std::nullopt;
    if (!value) throw UserError("config.json: {} is missing or not a whole number", key);
    if (*value < low || *value > high)
      throw UserError("config.json: {} = {} is outside {} to {}", key, *value, low, high);
    return *value;
  }
  /// A coefficient of a loss, or another factor.
  [[nodiscard]] double factor(const char* key, double fallback) const {
    constexpr double kMost = 1e6;
    const auto value = get(key, fallback);
    if (!(value >= 0 && value <= kMost))
      throw UserError("config.json: {} = {} is outside 0 to {}", key, value, kMost);
    return value;
  }
  [[nodiscard]] double fraction(const char* key, double fallback) const {
    const auto value = get(key, fallback);
    if (!(value >= 0 && value < 1)) throw UserError("config.json: {} = {} is outside 0 to 1", key, value);
    return value;
  }
};

/// What decides training alone, and the format's own keys do not say: kept under chorus.training.
std::vector<std::string> training_options(Format format) {
  std::vector<std::string> names = {"moe.capacity_factor", "moe.selection", "moe.gating_dropout"};
  if (format == Format::switch_transformers) {
    names.insert(names.end(), {"model.attention_dropout", "model.activation_dropout", "model.layer_dropout",
                               "moe.expert_output_dropout"});
  } else {
    names.emplace_back("moe.jitter");
  }
  return names;
}

nlohmann::json training_json(ModelConfig config, Format format) {
  Schema schema;
  describe(schema, config);
  const std::vector<std::string> names = training_options(format);
  nlohmann::json json;
  for (const auto& [name, value] : schema.values())
    if (std::ranges::find(names, name) != names.end()) json[name] = nlohmann::json::parse(value);
  return json;
}

void read_training(const nlohmann::json& own, ModelConfig& config, Format format) {
  const auto training = own.find("training");
  if (training == own.end()) return;
  if (!training->is_object()) throw UserError("config.json: chorus.training is no object");
  Schema schema;
  describe(schema, config);
  const std::vector<std::string> names = training_options(format);
  for (const auto& [name, value] : training->items()) {
    try {
      if (std::ranges::find(names, name) == names.end())
        throw UserError("unknown option {}", in_quotes(name));
      schema.set(fmt::format("{}={}", name, value.dump()));
    } catch (const UserError& error) {
      throw UserError("config.json: chorus.training: {}", error.what());
    }
  }
}

/// What both classes of transformers know.
nlohmann::json shared_json(const ModelConfig& c) {
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

nlohmann::json nllb_moe_json(const ModelConfig& c) {
  const bool sparse = c.moe.experts > 0;
  nlohmann::json json = shared_json(c);
  json.update({
      {"architectures", {"NllbMoeForConditionalGeneration"}},
      {"model_type", "nllb-moe"},
      {"encoder_sparse_step", sparse ? c.moe.encoder_every : 0},
      {"decoder_sparse_step", sparse ? c.moe.decoder_every : 0},
      {"num_experts", std::max<int64_t>(c.moe.experts, 1)},
      {"router_bias", false},
      {"router_dtype", "float32"},
      {"router_ignore_padding_tokens", false},
      {"router_z_loss_coef", c.moe.z_loss},
      {"router_aux_loss_coef", c.moe.balance_loss},
      {"moe_token_dropout", c.moe.expert_output_dropout},
      {"moe_eval_capacity_token_fraction", 1.0},
      {"second_expert_policy", "all"},
      {"batch_prioritized_routing", false},
      // With one expert, a share before the drop would be one half.
      {"normalize_router_prob_before_dropping",
       c.moe.gate_normalization == GateNormalization::before_drop && c.moe.experts != 1},
  });
  return json;
}

/// The steps themselves are among the keys: transformers would else make them of the counts, which cannot say
/// that no layer is sparse.
nlohmann::json switch_json(const ModelConfig& c) {
  const auto sparse = [&](int64_t layers, int64_t every) {
    int64_t count = 0;
    for (int64_t i = 0; i < layers; ++i) count += c.is_sparse(i, every) ? 1 : 0;
    return count;
  };
  const bool has_experts = c.moe.experts > 0;
  return {
      {"architectures", {"SwitchTransformersForConditionalGeneration"}},
      {"model_type", "switch_transformers"},
      {"is_encoder_decoder", true},
      {"vocab_size", c.vocabulary},
      {"d_model", c.d_model},
      {"d_kv", c.head_width()},
      {"d_ff", c.ffn_dim},
      {"num_layers", c.encoder_layers},
      {"num_decoder_layers", c.decoder_layers},
      {"num_heads", c.attention_heads},
      {"num_experts", std::max<int64_t>(c.moe.experts, 1)},
      {"num_sparse_encoder_layers", sparse(c.encoder_layers, c.moe.encoder_every)},
      {"num_sparse_decoder_layers", sparse(c.decoder_layers, c.moe.decoder_every)},
      {"encoder_sparse_step", has_experts ? c.moe.encoder_every : 0},
      {"decoder_sparse_step", has_experts ? c.moe.decoder_every : 0},
      {"expert_capacity", c.moe.sentence_capacity},
      {"router_bias", false},
      {"router_dtype", "float32"},
      {"router_jitter_noise", c.moe.jitter},
      {"router_ignore_padding_tokens", false},
      {"router_z_loss_coef", c.moe.z_loss},
      {"router_aux_loss_coef", c.moe.balance_loss},
      {"relative_attention_num_buckets", c.relative_buckets},
      {"relative_attention_max_distance", c.relative_max_distance},
      {"dropout_rate", c.dropout},
      {"layer_norm_epsilon", c.norm_epsilon},
      {"dense_act_fn", name_of(kActivations, c.activation)},
      {"tie_word_embeddings", c.tied_output},
      {"pad_token_id", t5_id(kPad)},
      {"eos_token_id", t5_id(kEos)},
      {"decoder_start_token_id", t5_id(c.decoder_start)},
      {"torch_dtype", "float32"},
  };
}

/// Throws on what of config.json would change results and this version does not compute.
void check_shared(const Reader& r) {
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

void read_shared(const Reader& r, ModelConfig& c) {
  check_shared(r);
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
  c.dropout = r.fraction("dropout", 0.1);
  c.attention_dropout = r.fraction("attention_dropout", 0.1);
  c.activation_dropout = r.fraction("activation_dropout", 0.0);
  c.layer_dropout = r.fraction("encoder_layerdrop", 0.0);
  c.max_positions = r.count("max_position_embeddings", 8, kLarge);
}

void read_nllb_moe(const Reader& r, MoeConfig& moe) {
  const auto refuse = [](const std::string& what) {
    return UserError("config.json: {}, which this version does not compute", what);
  };
  moe.experts = r.count("num_experts", 1, 65536);
  moe.encoder_every = r.count("encoder_sparse_step", 0, 1024);
  moe.decoder_every = r.count("decoder_sparse_step", 0, 1024);
  moe.expert_output_dropout = r.fraction("moe_token_dropout", 0.2);
  moe.z_loss = r.factor("router_z_loss_coef", 0.001);
  moe.balance_loss = r.factor("router_aux_loss_coef", 0.001);
  moe.top_k = std::min<int64_t>(2, moe.experts);
  const bool before = r.get("normalize_router_prob_before_dropping", false);
  moe.gate_normalization = before ? GateNormalization::before_drop : GateNormalization::after_drop;
  if (before && moe.experts == 1)
    throw refuse("normalize_router_prob_before_dropping with one expert halves the output of some tokens");
  if (r.get("router_bias", false)) throw refuse("router_bias is true");
  if (const auto type = r.get<std::string>("router_dtype", "float32"); type != "float32")
    throw refuse(fmt::format("router_dtype is {}", in_quotes(type)));
  if (const auto policy = r.get<std::string>("second_expert_policy", "all"); policy != "all")
    throw refuse(fmt::format("second_expert_policy is {}, a random choice", in_quotes(policy)));
  // From 1 on nothing is dropped, and so batch_prioritized_routing changes nothing.
  if (const auto share = r.get("moe_eval_capacity_token_fraction", 1.0); !(share >= 1))
    throw refuse(
        fmt::format("moe_eval_capacity_token_fraction = {} drops tokens, depending on the batch", share));
}

/// Of every how many blocks one is sparse. The step in a file goes before what transformers makes of the
/// count, which for a count of 0 is one sparse block, the second.
int64_t sparse_step(const Reader& r, const char* step, const char* count, int64_t layers) {
  constexpr int64_t kMost = 1024;
  if (r.has(step)) return r.count(step, 0, kMost);
  const int64_t sparse = r.has(count) ? r.count(count, 0, kMost) : 3;
  return sparse > 0 ? layers / sparse : layers;
}

/// Switch; what is not there has the default of transformers' class.
void read_switch(const Reader& r, ModelConfig& c) {
  const auto refuse = [](const std::string& what) {
    return UserError("config.json: {}, which this version does not compute", what);
  };
  const auto count = [&](const char* key, int64_t fallback, int64_t low, int64_t high) {
    return r.has(key) ? r.count(key, low, high) : fallback;
  };
  for (const auto& [key, value] :
       {std::pair{"pad_token_id", kPad}, {"eos_token_id", kEos}, {"decoder_start_token_id", kPad}}) {
    if (const auto given = r.get<int64_t>(key, t5_id(value)); given != t5_id(value))
      throw UserError("config.json: {} = {}; this version reads Switch models where it is {}", key, given,
                      t5_id(value));
  }
  if (r.get("is_gated_act", false) || r.get<std::string>("feed_forward_proj", "").starts_with("gated"))
    throw refuse("feed-forward layers with gates");
  if (r.get("router_bias", false)) throw refuse("router_bias is true");
  if (const auto type = r.get<std::string>("router_dtype", "float32"); type != "float32")
    throw refuse(fmt::format("router_dtype is {}", in_quotes(type)));
  c.vocabulary = r.count("vocab_size", 5, int64_t{1} << 31);
  c.d_model = r.count("d_model", 1, 65536);
  c.head_dim = r.count("d_kv", 1, 65536);
  c.ffn_dim = r.count("d_ff", 1, kLarge);
  c.attention_heads = r.count("num_heads", 1, 1024);
  c.encoder_layers = r.count("num_layers", 1, 1024);
  c.decoder_layers = count("num_decoder_layers", c.encoder_layers, 1, 1024);
  c.relative_buckets = count("relative_attention_num_buckets", 32, 4, kLarge);
  c.relative_max_distance = count("relative_attention_max_distance", 128, 2, kLarge);
  c.activation = value_of(kActivations, "dense_act_fn", r.get<std::string>("dense_act_fn", "relu"));
  c.dropout = c.attention_dropout = c.activation_dropout = r.fraction("dropout_rate", 0.1);
  c.norm = Norm::rms;
  c.norm_epsilon = r.fraction("layer_norm_epsilon", 1e-6);
  c.biases = c.scale_attention = c.scale_embedding = false;
  c.positions = Positions::relative;
  c.tied_output = c.scale_output = r.get("tie_word_embeddings", true);
  c.decoder_start = kPad;
  c.max_positions = 4096;  // the model has no limit; what attention over a line takes grows with its square
  c.moe.experts = r.count("num_experts", 1, 65536);
  c.moe.encoder_every = sparse_step(r, "encoder_sparse_step", "num_sparse_encoder_layers", c.encoder_layers);
  c.moe.decoder_every = sparse_step(r, "decoder_sparse_step", "num_sparse_decoder_layers", c.decoder_layers);
  c.moe.sparse_block = SparseBlock::second;
  c.moe.top_k = 1;
  c.moe.sentence_capacity = r.count("expert_capacity", 1, kLarge);
  c.moe.gate_normalization = GateNormalization::none;
  c.moe.jitter = r.fraction("router_jitter_noise", 0.01);
  c.moe.z_loss = r.factor("router_z_loss_coef", 0.001);
  c.moe.balance_loss = r.factor("router_aux_loss_coef", 0.001);
}

}  // namespace

Format native_format(const ModelConfig& c) {
  return c.positions == Positions::relative ? Format::switch_transformers : Format::nllb_moe;
}

nlohmann::json to_json(const ModelConfig& c, Format format) {
  check_exportable(c, format);
  if (format == Format::switch_transformers) return switch_json(c);
  if (format == Format::nllb_moe) return nllb_moe_json(c);
  nlohmann::json json = shared_json(c);
  json.update({{"architectures", {"M2M100ForConditionalGeneration"}}, {"model_type", "m2m_100"}});
  return json;
}

nlohmann::json to_json(const ModelConfig& c) {
  if (native_format(c) == Format::switch_transformers) {
    nlohmann::json json = switch_json(c);
    json["chorus"] = {{"format", kFormatVersion},
                      {"max_positions", c.max_positions},
                      {"training", training_json(c, Format::switch_transformers)}};
    if (!c.layer_experts.empty()) json["chorus"]["layer_experts"] = c.layer_experts;
    if (!c.directions.empty()) json["chorus"]["directions"] = c.directions;
    return json;
  }
  nlohmann::json json = nllb_moe_json(c);
  json["chorus"] = {{"format", kFormatVersion},
                    {"experts", c.moe.experts},
                    {"top_k", c.moe.top_k},
                    {"training", training_json(c, Format::nllb_moe)},
                    {"evaluation_capacity_factor", c.moe.evaluation_capacity_factor},
                    {"gate_normalization", name_of(kGateNormalizations, c.moe.gate_normalization)}};
  if (!c.layer_experts.empty()) json["chorus"]["layer_experts"] = c.layer_experts;
  if (!c.directions.empty()) json["chorus"]["directions"] = c.directions;
  return json;
}

ModelConfig model_config_from_json(const nlohmann::json& json) {
  const Format format = format_of(json);
  const Reader r{json};
  ModelConfig c;
  if (format == Format::switch_transformers) {
    read_switch(r, c);
  } else {
    read_shared(r, c);
    if (format == Format::nllb_moe) read_nllb_moe(r, c.moe);
  }
  if (const auto own = json.find("chorus"); format == native_format(c) && own != json.end()) {
    if (!own->is_object()) throw UserError("config.json: chorus is not an object");
    const Reader o{*own};
    if (o.count("format", 1, kLarge) != kFormatVersion) {
      throw UserError("config.json: written by a later version of chorus (chorus.format = {})",
                      (*own)["format"].dump());
    }
    c.layer_experts = o.get("layer_experts", c.layer_experts);
    c.directions = o.get("directions", c.directions);
    read_training(*own, c, format);
    if (format == Format::switch_transformers) {
      c.max_positions = o.count("max_positions", 8, kLarge);
      check(c);
      return c;
    }
    c.moe.experts = o.count("experts", 0, 65536);
    c.moe.top_k = o.count("top_k", 1, 64);
    c.moe.evaluation_capacity_factor = o.factor("evaluation_capacity_factor", 0);
    c.moe.gate_normalization = value_of(kGateNormalizations, "chorus.gate_normalization",
                                        o.get<std::string>("gate_normalization", "none"));
  }
  check(c);
  return c;
}

}  // namespace chorus
