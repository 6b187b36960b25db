// What chorus knows of an architecture of transformers: how config.json spells a model of it, what its
// tensors are called, what it cannot express. A new one is one more file like switch.cpp, and its name in
// format.cpp.
//
// A catalogue lists the same parameters in the same order in every format, so that going from one format to
// another is a map from tensor to tensor (formats/convert.h).
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "architecture/config.h"

namespace chorus::inline architecture {

struct JsonReader;

enum class Format { nllb_moe, m2m100, switch_transformers, t5, marian };

/// How a class numbers its tokens.
enum class TokenIds {
  fairseq,  // as we do (data/batch.h)
  t5,       // 0 pad, 1 </s>, 2 <unk>, in spiece.model: ours less one; or MADLAD's
  marian,   // 0 </s>, 1 <unk>, padding last: ours less two
};

struct Architecture {
  Format format = Format::nllb_moe;
  std::string name;                      // as the command line spells it
  std::vector<std::string> model_types;  // config.json's model_type; the first is the one that is written
  Positions positions = Positions::sinusoidal;
  // Chorus's own models with such positions have this layout, with a "chorus" in config.json.
  bool native = false;
  bool dense = false;  // a model with one expert becomes a dense one
  TokenIds ids = TokenIds::fairseq;
  bool gates_apart = false;  // gate and value of a gated feed-forward layer are two tensors

  /// What a tensor of a catalogue, "model.decoder.layers.0.cross_attention.q_proj.weight", is called.
  std::string (*stored_name)(std::string name) = nullptr;
  /// config.json, and the inverse, for files that are not trusted.
  nlohmann::json (*to_json)(const ModelConfig& config) = nullptr;
  void (*read)(const JsonReader& json, ModelConfig& config) = nullptr;
  /// Why its class cannot compute such a model, positions and different numbers of experts aside.
  std::vector<std::string> (*reasons_against)(const ModelConfig& config) = nullptr;

  // Of native ones: options that decide training alone and that config.json has no key for (kept under
  // chorus.training), and what else config.json cannot say (kept under chorus).
  std::vector<std::string> training_options = {};
  nlohmann::json (*own_json)(const ModelConfig& config) = nullptr;
  void (*read_own)(const JsonReader& own, ModelConfig& config) = nullptr;
};

extern const Architecture kNllbMoe, kM2m100, kMarian, kT5, kSwitch;

/// All there are.
const std::vector<const Architecture*>& architectures();
const Architecture& architecture_of(Format format);
/// The one with this model_type of config.json. UserError when there is none.
const Architecture& architecture_of(const nlohmann::json& config);
/// Whose layout a native folder has: that of Switch or, without experts, of T5 for models with relative positions,
/// Marian's for models with its positions, else NLLB-MoE's.
const Architecture& native_architecture(const ModelConfig& config);

/// MADLAD's <unk>, in whose place we have a newline (data/vocabulary.h); ours is 3.
inline constexpr int64_t kMadladUnk = 0;
/// Whether a model has <unk> there, so that these two rows of its embedding and output layer change places on the way
/// to a native folder.
bool has_madlad_unk(const nlohmann::json& config);

/// Replaces the first of each pair by the second, where it occurs in `name`.
void replace_in(std::string& name,
                std::initializer_list<std::pair<std::string_view, std::string_view>> pairs);

/// config.json as transformers' class reads it. UserError when the class cannot compute what this model does;
/// which key stands in the way.
nlohmann::json to_json(const ModelConfig& config, Format format);
/// config.json of a native folder: that of its architecture, with what it cannot express under "chorus".
nlohmann::json to_json(const ModelConfig& config);
/// The inverse of both, for folders we or transformers wrote. UserError names the key that is missing, out of
/// range, or asks for what this version does not compute.
ModelConfig model_config_from_json(const nlohmann::json& json);

}  // namespace chorus::inline architecture
