// The files of a model folder besides the weights.
#pragma once

#include <filesystem>

#include <nlohmann/json_fwd.hpp>

#include "chorus/base/safetensors.h"
#include "chorus/data/vocabulary.h"
#include "chorus/model/config.h"

namespace chorus {

constexpr const char* kWeightsFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kConfigFile = "config.json";
constexpr const char* kGenerationFile = "generation_config.json";
constexpr const char* kPiecesFile = "vocab.json";

/// Where a model lies: in one folder, unless it is a checkpoint of a run (RUN/checkpoints/NAME), whose
/// configuration and vocabulary are those of RUN/model.
struct ModelPlace {
  std::filesystem::path weights, description;
};
/// Of a model folder, a run, or a checkpoint. UserError as find_model_folder().
ModelPlace find_model(const std::filesystem::path& dir);

void write_json(const std::filesystem::path& path, const nlohmann::json& json);

/// The name of the SentencePiece model.
const char* vocabulary_file(bool t5);

/// generation_config.json for transformers' generate(), with the ids of config.json.
nlohmann::json generation_config(const nlohmann::json& config);

/// UserError when `folder` is there and is neither empty nor a model: it is not for us to replace.
void check_is_replaceable(const std::filesystem::path& folder);

/// UserError when the vocabulary of `folder` has more ids than the embedding has rows.
void check_rows(const ModelConfig& config, const Vocabulary& vocabulary, const std::filesystem::path& folder);

/// All of a native folder but the weights, whose type is `dtype`.
void write_description(const std::filesystem::path& folder, const ModelConfig& config, DType dtype,
                       const Vocabulary& vocabulary);

}  // namespace chorus
