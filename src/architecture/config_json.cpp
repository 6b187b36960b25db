#include <algorithm>

#include "architecture/exports.h"
#include "architecture/format.h"

#include "architecture/internal/json_reader.h"

namespace chorus::inline architecture {

namespace {

constexpr int64_t kFormatVersion = 1;
constexpr int64_t kQuantizationVersion = 1;

// The name under which transformers has such things.
constexpr const char* kQuantizationKey = "quantization_config";

nlohmann::json quantization_json(const QuantizationConfig& q) {
  return {{"quant_method", "chorus"},
          {"version", kQuantizationVersion},
          {"group_size", kQuantizedGroup},
          {"experts", name_of(q.experts)},
          {"dense", name_of(q.dense)}};
}

QuantizationConfig read_quantization(const nlohmann::json& json) {
  if (!json.is_object()) throw UserError("config.json: {} is no object", kQuantizationKey);
  const JsonReader r{json};
  if (const auto method = r.get<std::string>("quant_method", ""); method != "chorus")
    throw not_computed(fmt::format("{}: weights quantized by {}", kQuantizationKey, in_quotes(method)));
  const int64_t version = r.count("version", 1, kLarge), group = r.count("group_size", 1, kLarge);
  if (version != kQuantizationVersion || group != kQuantizedGroup)
    throw UserError("config.json: {}: quantized by a later version of chorus (version {}, groups of {})",
                    kQuantizationKey, version, group);
  const auto type = [&](const char* key) {
    return value_of(kQuantizations, fmt::format("{}.{}", kQuantizationKey, key),
                    r.get<std::string>(key, "none"));
  };
  return {.experts = type("experts"), .dense = type("dense")};
}

nlohmann::json training_json(ModelConfig config, const std::vector<std::string>& names) {
  Schema schema;
  describe(schema, config);
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, value] : schema.values())
    if (std::ranges::find(names, name) != names.end()) json[name] = nlohmann::json::parse(value);
  return json;
}

void read_training(const nlohmann::json& own, ModelConfig& config, const std::vector<std::string>& names) {
  const auto training = own.find("training");
  if (training == own.end()) return;
  if (!training->is_object()) throw UserError("config.json: chorus.training is no object");
  Schema schema;
  describe(schema, config);
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

}  // namespace

nlohmann::json to_json(const ModelConfig& c, Format format) {
  check_exportable(c, format);
  return architecture_of(format).to_json(c);
}

nlohmann::json to_json(const ModelConfig& c) {
  const Architecture& native = native_architecture(c);
  nlohmann::json json = native.to_json(c);
  nlohmann::json& own = json["chorus"] = native.own_json(c);
  own["format"] = kFormatVersion;
  own["training"] = training_json(c, native.training_options);
  if (!c.layer_experts.empty()) own["layer_experts"] = c.layer_experts;
  if (!c.directions.empty()) own["directions"] = c.directions;
  if (c.alignment_layer >= 0) own["alignment"] = {{"layer", c.alignment_layer}, {"head", c.alignment_head}};
  if (c.quantization.any()) json[kQuantizationKey] = quantization_json(c.quantization);
  return json;
}

ModelConfig model_config_from_json(const nlohmann::json& json) {
  const Architecture& architecture = architecture_of(json);
  ModelConfig c;
  architecture.read({json}, c);
  if (const JsonReader r{json}; r.has(kQuantizationKey))
    c.quantization = read_quantization(json[kQuantizationKey]);
  const auto own = json.find("chorus");
  if (own != json.end() && &architecture == &native_architecture(c)) {
    if (!own->is_object()) throw UserError("config.json: chorus is not an object");
    const JsonReader o{*own};
    if (o.count("format", 1, kLarge) != kFormatVersion) {
      throw UserError("config.json: written by a later version of chorus (chorus.format = {})",
                      (*own)["format"].dump());
    }
    c.layer_experts = o.get("layer_experts", c.layer_experts);
    c.directions = o.get("directions", c.directions);
    if (o.has("alignment")) {
      const nlohmann::json& alignment = (*own)["alignment"];
      if (!alignment.is_object()) throw UserError("config.json: chorus.alignment is no object");
      c.alignment_layer = JsonReader{alignment}.count("layer", 0, kLarge);
      c.alignment_head = JsonReader{alignment}.count("head", -1, kLarge);
    }
    read_training(*own, c, architecture.training_options);
    architecture.read_own(o, c);
  }
  check(c);
  return c;
}

}  // namespace chorus::inline architecture
