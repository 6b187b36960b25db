// Models on disk, and the weights of any catalogue as safetensors.
//
// A model is one folder, as transformers lays it out:
//   model.safetensors         the weights, one tensor per ParameterSpec::stored; or shards and their index
//   config.json               to_json(ModelConfig); under "chorus" also the languages whose tags are not
//                             pieces of the SentencePiece model (their ids too, if there are gaps), and the
//                             hash of the vocabulary
//   generation_config.json    for transformers' generate()
//   sentencepiece.bpe.model   the vocabulary
//   vocab.json                the ids of its pieces, if they are not in SentencePiece's order (M2M100)
#pragma once

#include <filesystem>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>

#include <ATen/core/Tensor.h>

#include "data/vocabulary.h"
#include "formats/place.h"
#include "io/safetensors.h"
#include "model/expert_store.h"
#include "model/transformer.h"

namespace chorus::inline formats {

/// One value for each parameter of a catalogue: its weights, or a moment of its optimizer. Stored tensors
/// carry the prefix before their names: "", "m.", "v.".
struct TensorSet {
  std::string prefix;
  DType dtype = DType::f32;  // on disk, when saving: f64, f32, bf16 or f16
  /// The tensor of parameter i, of the spec's shape, of any floating type and device: read from when saving,
  /// written into when loading. Called once per parameter, in the catalogue's order.
  std::function<at::Tensor(size_t parameter)> tensor;
};

/// Writes the sets to one file, slice by slice. Returns the file's hash (SafetensorsWriter::hash). Errors
/// as AtomicFile.
uint64_t save_tensors(const std::filesystem::path& path, const Catalogue& catalogue,
                      std::span<const TensorSet> sets,
                      const std::map<std::string, std::string>& metadata = {});

/// Fills the sets, converting types as needed, after a look at every checksum. The prefix "model." may be
/// missing; copies of the embedding under the names of its ties (lm_head.weight,
/// {encoder,decoder}.embed_tokens.weight) must be equal to it, or serve as it; sinusoidal tables are passed
/// over. UserError naming file and tensor: missing, left over, of another shape, not of a floating type, or
/// damaged.
void load_tensors(const SafetensorsFile& file, const Catalogue& catalogue, std::span<const TensorSet> sets);
/// Does the same for the file or the shards of a model folder.
void load_tensors(const SafetensorsFolder& folder, const Catalogue& catalogue,
                  std::span<const TensorSet> sets);

struct LoadedModel {
  std::unique_ptr<Transformer> model;
  Vocabulary vocabulary;
  std::unique_ptr<ExpertStore> experts = {};  // who has the experts in keeping; null: they are all in memory
};

/// Configuration and vocabulary of a model folder. UserError naming the file, and when the vocabulary is not
/// the one the model was trained with.
struct ModelDescription {
  ModelConfig config;
  Vocabulary vocabulary;
};
ModelDescription describe_model(const std::filesystem::path& folder);

/// UserError when its weights are quantized.
void check_not_quantized(const ModelConfig& config, const std::filesystem::path& folder);

/// Reads a model folder, or what find_model() finds. Every checksum is verified first. Without gradients and
/// on the CPU, weights that the file holds in the compute type, slices one after the other as save_model
/// writes them, are not copied: the parameters lie in the mapped file, must not be written to, and keep it
/// open. The file may then be replaced, as save_model does, but not overwritten in place. Quantized weights stay so on
/// the host, where what goes between them is fp32 and the compute type is that of caches alone, and are of the compute
/// type elsewhere.
LoadedModel load_model(const std::filesystem::path& dir, const Transformer::Options& options);
/// Does the same for a folder of weights that were described already. Where the weights are more than `memory` bytes,
/// the experts lie in the file, and come when they are needed (model/expert_store.h), each compared with its checksum
/// then: UserError where that is too little, or a device cannot.
LoadedModel load_model(const std::filesystem::path& folder, ModelDescription description,
                       const Transformer::Options& options,
                       uint64_t memory = std::numeric_limits<uint64_t>::max());

struct ModelToSave {
  const ModelConfig& config;
  const Catalogue& catalogue;
  std::function<at::Tensor(size_t parameter)> weights;  // as TensorSet::tensor
  DType dtype = DType::f32;
  const Vocabulary& vocabulary;
};
/// Writes the folder beside `folder` under a temporary name and puts it in the place of `folder`, which must
/// be absent or a model folder: at any moment one of them is there, whole. Errors as write_file_atomically.
void save_model(const std::filesystem::path& folder, const ModelToSave& model);
/// Does the same where `write_weights(path)` writes the weights' file, of that type.
void save_model(const std::filesystem::path& folder, const ModelConfig& config, const Vocabulary& vocabulary,
                DType dtype, const std::function<void(const std::filesystem::path&)>& write_weights);

}  // namespace chorus::inline formats
