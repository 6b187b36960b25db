// What transformers' M2M100 and NLLB-MoE, which is made from it, have in common.
#pragma once

#include "architecture/config.h"

#include "architecture/internal/json_reader.h"

namespace chorus::inline architecture {

nlohmann::json m2m100_family_json(const ModelConfig& config);
void read_m2m100_family(const JsonReader& reader, ModelConfig& config);
/// Reasons why neither class can express a model.
std::vector<std::string> m2m100_family_reasons(const ModelConfig& config);

}  // namespace chorus::inline architecture
