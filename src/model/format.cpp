#include "chorus/model/format.h"

#include "chorus/base/error.h"
#include "chorus/base/json.h"

namespace chorus {

const std::vector<std::pair<std::string, Format>> kFormats = {{"nllb-moe", Format::nllb_moe},
                                                              {"m2m100", Format::m2m100}};

Format format_of(const nlohmann::json& config) {
  if (!config.is_object()) throw UserError("config.json: not a JSON object");
  const auto type = config.find("model_type");
  const std::string name = type != config.end() && type->is_string() ? type->get<std::string>() : "";
  if (name == "nllb-moe" || name == "nllb_moe") return Format::nllb_moe;
  if (name == "m2m_100") return Format::m2m100;
  throw UserError("config.json: model_type is {}; this version reads nllb-moe and m2m_100", in_quotes(name));
}

std::string stored_name(Format format, std::string name) {
  if (format == Format::m2m100) {
    for (const auto& [ours, theirs] :
         {std::pair<std::string_view, std::string_view>{".cross_attention", ".encoder_attn"},
          {".ff_layer_norm", ".final_layer_norm"},
          {".ffn.fc", ".fc"}}) {
      if (const size_t at = name.find(ours); at != std::string::npos) name.replace(at, ours.size(), theirs);
    }
  }
  return name;
}

}  // namespace chorus
