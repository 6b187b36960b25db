// Switch (2101.03961) on T5 (1910.10683), and chorus's own models with relative positions. transformers:
// SwitchTransformersForConditionalGeneration.
#include "architecture/format.h"
#include "data/batch.h"

#include "architecture/internal/json_reader.h"

namespace chorus::inline architecture {

namespace {

/// What T5 calls one of our special tokens (ParameterSpec::row_shift).
int64_t t5_id(SpecialToken token) {
  return token - 1;
}

/// The steps themselves are among the keys: otherwise transformers would compute them from the counts, which
/// cannot say that no layer is sparse.
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

/// The n of which every n-th block is sparse. The step in a file takes precedence over what transformers
/// computes from the count, which for a count of 0 is one sparse block, the second.
int64_t sparse_step(const JsonReader& r, const char* step, const char* count, int64_t layers) {
  constexpr int64_t kMost = 1024;
  if (r.has(step)) return r.count(step, 0, kMost);
  const int64_t sparse = r.has(count) ? r.count(count, 0, kMost) : 3;
  return sparse > 0 ? layers / sparse : layers;
}

/// Switch; what is not there has the default of transformers' class.
void read_switch(const JsonReader& r, ModelConfig& c) {
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
    throw not_computed("feed-forward layers with gates");
  if (r.get("router_bias", false)) throw not_computed("router_bias is true");
  if (const auto type = r.get<std::string>("router_dtype", "float32"); type != "float32")
    throw not_computed(fmt::format("router_dtype is {}", in_quotes(type)));
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

std::string switch_name(std::string name) {
  const bool decoder = name.starts_with("model.decoder");
  replace_in(name, {{"model.", ""},
                    {"coder.layer_norm", "coder.final_layer_norm"},
                    {".relative_attention_bias", ".block.0.layer.0.SelfAttention.relative_attention_bias"},
                    {".layers.", ".block."},
                    {".self_attn_layer_norm", ".layer.0.layer_norm"},
                    {".self_attn", ".layer.0.SelfAttention"},
                    {".cross_attention_layer_norm", ".layer.1.layer_norm"},
                    {".cross_attention", ".layer.1.EncDecAttention"},
                    {".ff_layer_norm", decoder ? ".layer.2.layer_norm" : ".layer.1.layer_norm"},
                    {".ffn", decoder ? ".layer.2.mlp" : ".layer.1.mlp"},
                    {".fc1", ".wi"},
                    {".fc2", ".wo"},
                    {"_proj", ""},
                    {"Attention.out", "Attention.o"}});
  return name;
}

}  // namespace

const Architecture kSwitch = {
    .format = Format::switch_transformers,
    .name = "switch",
    .model_types = {"switch_transformers"},
    .positions = Positions::relative,
    .native = true,
    .t5_ids = true,
    .stored_name = switch_name,
    .to_json = switch_json,
    .read = read_switch,
    .reasons_against = [](const ModelConfig&) { return std::vector<std::string>(); },
    .training_options = {"moe.capacity_factor", "moe.selection", "moe.gating_dropout",
                         "model.attention_dropout", "model.activation_dropout", "model.layer_dropout",
                         "moe.expert_output_dropout"},
    .own_json =
        [](const ModelConfig& c) {
          return nlohmann::json{{"max_positions", c.max_positions}};
        },
    .read_own = [](const JsonReader& own,
                   ModelConfig& c) { c.max_positions = own.count("max_positions", 8, kLarge); }};

}  // namespace chorus::inline architecture
