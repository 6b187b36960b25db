// What transformers' M2M100 and NLLB-MoE, which is made from it, have in common; and Marian, made from BART as M2M100
// is.
#pragma once

#include <string>
#include <vector>

#include "architecture/config.h"

#include "architecture/internal/json_reader.h"

namespace chorus::inline architecture {

nlohmann::json m2m100_family_json(const ModelConfig& config);
void read_m2m100_family(const JsonReader& reader, ModelConfig& config);
/// The part of it that is Marian's too: sizes and dropout.
void read_m2m100_family_shape(const JsonReader& reader, ModelConfig& config);
/// Returns the stored name of a tensor (Architecture::stored_name) of M2M100 and Marian.
std::string m2m100_family_name(std::string name);
/// Reasons why neither class can express a model.
std::vector<std::string> m2m100_family_reasons(const ModelConfig& config);

}  // namespace chorus::inline architecture
