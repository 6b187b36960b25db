// What transformers' T5 and Switch, which is made from it, have in common.
#pragma once

#include <string>

#include "architecture/config.h"

#include "architecture/internal/json_reader.h"

namespace chorus::inline architecture {

nlohmann::json t5_family_json(const ModelConfig& config);
/// What is not there has the default of transformers' classes.
void read_t5_family(const JsonReader& reader, ModelConfig& config);
/// Returns the stored name of a tensor (Architecture::stored_name); `feed_forward`: what the class calls that layer.
std::string t5_family_name(std::string name, const std::string& feed_forward);

nlohmann::json t5_family_own(const ModelConfig& config);
void read_t5_family_own(const JsonReader& own, ModelConfig& config);

}  // namespace chorus::inline architecture
