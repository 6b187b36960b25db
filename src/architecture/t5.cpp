// T5 (1910.10683), its version 1.1, and MADLAD-400 (2309.04662): dense, relative positions. transformers:
// T5ForConditionalGeneration.
#include "architecture/format.h"
#include "base/error.h"
#include "base/text.h"
#include "data/batch.h"

#include "architecture/internal/t5_family.h"

namespace chorus::inline architecture {

namespace {

/// feed_forward_proj: whether there is a gate, and its non-linearity. Config.json spells it otherwise in two more
/// keys.
struct FeedForward {
  Activation activation;
  const char *projection, *function;
};
constexpr FeedForward kFeedForwards[] = {{Activation::relu, "relu", "relu"},
                                         {Activation::gelu, "gelu", "gelu"},
                                         {Activation::silu, "silu", "silu"},
                                         {Activation::swiglu, "gated-silu", "silu"},
                                         {Activation::geglu, "gated-gelu", "gelu_new"}};

nlohmann::json t5_json(const ModelConfig& c) {
  nlohmann::json json = t5_family_json(c);
  const FeedForward& layer = *std::ranges::find(kFeedForwards, c.activation, &FeedForward::activation);
  json.update({{"architectures", {"T5ForConditionalGeneration"}},
               {"model_type", "t5"},
               {"feed_forward_proj", layer.projection},
               {"dense_act_fn", layer.function},
               {"is_gated_act", is_gated(c.activation)}});
  return json;
}

void read_t5(const JsonReader& r, ModelConfig& c) {
  read_t5_family(r, c);
  const auto projection = r.get<std::string>("feed_forward_proj", "relu");
  const auto* const layer = std::ranges::find(
      kFeedForwards, projection, [](const FeedForward& one) { return std::string(one.projection); });
  if (layer == std::end(kFeedForwards))
    throw not_computed(fmt::format("feed_forward_proj is {}", in_quotes(projection)));
  if (const auto function = r.get<std::string>("dense_act_fn", layer->function); function != layer->function)
    throw not_computed(fmt::format("dense_act_fn is {} where feed_forward_proj is {}", in_quotes(function),
                                   in_quotes(projection)));
  if (r.get("is_gated_act", is_gated(layer->activation)) != is_gated(layer->activation))
    throw not_computed(fmt::format("is_gated_act contradicts feed_forward_proj, {}", in_quotes(projection)));
  c.activation = layer->activation;
}

std::vector<std::string> t5_reasons(const ModelConfig& c) {
  if (c.expert_counts().empty()) return {};
  return {fmt::format("it is dense, and the MoE layers have {}", counted(c.moe.experts, "expert"))};
}

}  // namespace

const Architecture kT5 = {
    .format = Format::t5,
    .name = "t5",
    .model_types = {"t5"},
    .positions = Positions::relative,
    .native = true,
    .dense = true,
    .ids = TokenIds::t5,
    .gates_apart = true,
    .stored_name = [](std::string name) { return t5_family_name(std::move(name), "DenseReluDense"); },
    .to_json = t5_json,
    .read = read_t5,
    .reasons_against = t5_reasons,
    .training_options = {"model.attention_dropout", "model.activation_dropout", "model.layer_dropout"},
    .own_json = t5_family_own,
    .read_own = read_t5_family_own};

namespace {

/// The ids of pad, </s> and of what the decoder begins with. T5's are ours less one (ParameterSpec::row_shift).
/// MADLAD's are ours, but for <unk>, with which its decoder begins: 0, where we have 3.
struct SpecialIds {
  int64_t pad, eos, start;
  SpecialToken decoder_start;
};
constexpr SpecialIds kSpecialIds[] = {
    {kPad - 1, kEos - 1, kPad - 1, kPad}, {kPad, kEos, kUnk, kUnk}, {kPad, kEos, kMadladUnk, kUnk}};

}  // namespace

bool has_madlad_unk(const nlohmann::json& config) {
  const JsonReader r{config};
  return &architecture_of(config) == &kT5 && r.get<int64_t>("pad_token_id", 0) == kPad &&
         r.get<int64_t>("decoder_start_token_id", 0) == kMadladUnk;
}

nlohmann::json t5_family_json(const ModelConfig& c) {
  const auto* const ids = std::ranges::find(kSpecialIds, c.decoder_start, &SpecialIds::decoder_start);
  if (ids == std::end(kSpecialIds))
    throw Error("a decoder of T5's kind begins with <pad> or <unk>, not with token {}", +c.decoder_start);
  return {
      {"is_encoder_decoder", true},
      {"vocab_size", c.vocabulary},
      {"d_model", c.d_model},
      {"d_kv", c.head_width()},
      {"d_ff", c.ffn_dim},
      {"num_layers", c.encoder_layers},
      {"num_decoder_layers", c.decoder_layers},
      {"num_heads", c.attention_heads},
      {"relative_attention_num_buckets", c.relative_buckets},
      {"relative_attention_max_distance", c.relative_max_distance},
      {"dropout_rate", c.dropout},
      {"layer_norm_epsilon", c.norm_epsilon},
      {"tie_word_embeddings", c.tied_output},
      {"pad_token_id", ids->pad},
      {"eos_token_id", ids->eos},
      {"decoder_start_token_id", ids->start},
      {"torch_dtype", "float32"},
  };
}

void read_t5_family(const JsonReader& r, ModelConfig& c) {
  const auto count = [&](const char* key, int64_t fallback, int64_t low, int64_t high) {
    return r.has(key) ? r.count(key, low, high) : fallback;
  };
  const auto pad = r.get<int64_t>("pad_token_id", 0), eos = r.get<int64_t>("eos_token_id", 1),
             start = r.get<int64_t>("decoder_start_token_id", 0);
  const auto* const ids = std::ranges::find_if(kSpecialIds, [&](const SpecialIds& known) {
    return known.pad == pad && known.eos == eos && known.start == start;
  });
  if (ids == std::end(kSpecialIds)) {
    throw UserError(
        "config.json: pad_token_id, eos_token_id and decoder_start_token_id are {}, {} and {}; this version "
        "reads models where they are 0, 1 and 0 (T5) or 1, 2 and 0 (MADLAD)",
        pad, eos, start);
  }
  c.decoder_start = ids->decoder_start;
  c.vocabulary = r.count("vocab_size", 5, int64_t{1} << 31);
  c.d_model = r.count("d_model", 1, 65536);
  c.head_dim = r.count("d_kv", 1, 65536);
  c.ffn_dim = r.count("d_ff", 1, kLarge);
  c.attention_heads = r.count("num_heads", 1, 1024);
  c.encoder_layers = r.count("num_layers", 1, 1024);
  c.decoder_layers = count("num_decoder_layers", c.encoder_layers, 1, 1024);
  c.relative_buckets = count("relative_attention_num_buckets", 32, 4, kLarge);
  c.relative_max_distance = count("relative_attention_max_distance", 128, 2, kLarge);
  c.dropout = c.attention_dropout = c.activation_dropout = r.fraction("dropout_rate", 0.1);
  c.norm = Norm::rms;
  c.norm_epsilon = r.fraction("layer_norm_epsilon", 1e-6);
  c.biases = c.scale_attention = c.scale_embedding = false;
  c.positions = Positions::relative;
  c.tied_output = c.scale_output = r.get("tie_word_embeddings", true);
  c.max_positions = 4096;  // the model has no limit; what attention over a line takes grows with its square
}

std::string t5_family_name(std::string name, const std::string& feed_forward) {
  const bool decoder = name.starts_with("model.decoder");
  const std::string layer = fmt::format(".layer.{}.", decoder ? 2 : 1);
  const std::string norm = layer + "layer_norm", ffn = layer + feed_forward;
  replace_in(name, {{"model.", ""},
                    {"coder.layer_norm", "coder.final_layer_norm"},
                    {".relative_attention_bias", ".block.0.layer.0.SelfAttention.relative_attention_bias"},
                    {".layers.", ".block."},
                    {".self_attn_layer_norm", ".layer.0.layer_norm"},
                    {".self_attn", ".layer.0.SelfAttention"},
                    {".cross_attention_layer_norm", ".layer.1.layer_norm"},
                    {".cross_attention", ".layer.1.EncDecAttention"},
                    {".ff_layer_norm", norm},
                    {".ffn", ffn},
                    {".fc1", ".wi"},
                    {".fc2", ".wo"},
                    {"_proj", ""},
                    {"Attention.out", "Attention.o"}});
  return name;
}

nlohmann::json t5_family_own(const ModelConfig& c) {
  return {{"max_positions", c.max_positions}};
}

void read_t5_family_own(const JsonReader& own, ModelConfig& c) {
  c.max_positions = own.count("max_positions", 8, kLarge);
}

}  // namespace chorus::inline architecture
