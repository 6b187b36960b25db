#include "chorus/model/format.h"

#include "chorus/base/error.h"
#include "chorus/base/json.h"

namespace chorus {

const std::vector<std::pair<std::string, Format>> kFormats = {
    {"nllb-moe", Format::nllb_moe}, {"m2m100", Format::m2m100}, {"switch", Format::switch_transformers}};

Format format_of(const nlohmann::json& config) {
  if (!config.is_object()) throw UserError("config.json: not a JSON object");
  const auto type = config.find("model_type");
  const std::string name = type != config.end() && type->is_string() ? type->get<std::string>() : "";
  if (name == "nllb-moe" || name == "nllb_moe") return Format::nllb_moe;
  if (name == "m2m_100") return Format::m2m100;
  if (name == "switch_transformers") return Format::switch_transformers;
  throw UserError(
      "config.json: model_type is {}; this version reads nllb-moe, m2m_100 and switch_transformers",
      in_quotes(name));
}

namespace {

/// Puts the second of each pair in the place of the first, where that is.
void replace(std::string& name, std::initializer_list<std::pair<std::string_view, std::string_view>> pairs) {
  for (const auto& [ours, theirs] : pairs)
    if (const size_t at = name.find(ours); at != std::string::npos) name.replace(at, ours.size(), theirs);
}

}  // namespace

std::string stored_name(Format format, std::string name) {
  if (format == Format::m2m100) {
    replace(
        name,
        {{".cross_attention", ".encoder_attn"}, {".ff_layer_norm", ".final_layer_norm"}, {".ffn.fc", ".fc"}});
  }
  if (format == Format::switch_transformers) {
    const bool decoder = name.starts_with("model.decoder");
    replace(name, {{"model.", ""},
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
  }
  return name;
}

}  // namespace chorus
