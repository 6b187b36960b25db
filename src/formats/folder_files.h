// The files of a model folder besides the weights.
#pragma once

#include <filesystem>
#include <span>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "architecture/config.h"
#include "architecture/format.h"
#include "data/vocabulary.h"
#include "io/safetensors.h"

namespace chorus::inline formats {

constexpr const char* kWeightsFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr const char* kConfigFile = "config.json";
constexpr const char* kGenerationFile = "generation_config.json";
constexpr const char* kPiecesFile = "vocab.json";
constexpr const char* kPiecesModel = "sentencepiece.bpe.model";
constexpr const char* kT5PiecesModel = "spiece.model";
constexpr const char* kSourcePiecesModel = "source.spm";  // Marian's
constexpr const char* kTargetPiecesModel = "target.spm";
constexpr const char* kManifestFile = "chorus.json";
constexpr const char* kQuantizationFile = "quantization.json";  // formats/quantize.h
constexpr const char* kTokenizerConfig = "tokenizer_config.json";
constexpr const char* kTokenizer = "tokenizer.json";
constexpr const char* kSpecialTokens = "special_tokens_map.json";
constexpr const char* kAddedTokens = "added_tokens.json";

void write_json(const std::filesystem::path& path, const nlohmann::json& json);

/// The name of the SentencePiece model; of Marian's two, the source's.
const char* vocabulary_file(TokenIds ids);
/// All such names, the target's and kPiecesFile.
std::span<const char* const> vocabulary_files();

/// generation_config.json for transformers' generate(), with the ids of config.json.
nlohmann::json generation_config(const nlohmann::json& config);

/// Whether a file of that name may be one of those that chorus writes into a model folder, its own or another
/// format's. Whoever adds a file to such folders adds its name here.
bool is_model_file(std::string_view name);

/// UserError unless `folder` is absent, an empty folder, or a model's that chorus has written, in which every name is a
/// model's file: nothing else is ours to replace. It names the first file that is not.
void check_is_replaceable(const std::filesystem::path& folder);
/// UserError unless `folder` is a model's that may get another file beside what else it holds: no link to one, and no
/// checkpoint of a run.
void check_is_rewritable(const std::filesystem::path& folder);

/// UserError when the vocabulary of `folder` is of another kind than the model's: T5's, MADLAD's or neither.
void check_kind(const ModelConfig& config, const Vocabulary& vocabulary, const std::filesystem::path& folder);

/// UserError when the vocabulary of `folder` has more ids than the embedding has rows, or Marian's another number.
void check_rows(const ModelConfig& config, const Vocabulary& vocabulary, const std::filesystem::path& folder);

/// All of a native folder but the weights, whose type is `dtype` and which lie there.
void write_description(const std::filesystem::path& folder, const ModelConfig& config, DType dtype,
                       const Vocabulary& vocabulary);

}  // namespace chorus::inline formats
