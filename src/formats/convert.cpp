#include "formats/convert.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>

#include "base/error.h"
#include "formats/folder.h"
#include "formats/folder_files.h"
#include "formats/language_detector.h"
#include "formats/parts.h"
#include "formats/quantize.h"
#include "formats/stored_tensors.h"
#include "io/checkpoint.h"
#include "io/files.h"
#include "io/json.h"
#include "io/places.h"

#include "formats/internal/tokenizer_files.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

/// What becomes of each parameter in a catalogue of another format.
enum class Fate : uint8_t { renamed, scaled, left_out, reordered };

/// A single expert is a dense layer: its router says nothing, and its output is scaled by a constant. `madlad_unk`: two
/// rows change places (architecture/format.h).
std::vector<Fate> fates(const Catalogue& native, bool becomes_dense, bool madlad_unk) {
  std::vector<Fate> fate(native.parameters.size(), Fate::renamed);
  if (madlad_unk) fate[native.embedding] = fate[native.output] = Fate::reordered;
  for (const auto* layers : {&native.encoder, &native.decoder}) {
    for (const LayerIndex& layer : *layers) {
      if (!becomes_dense || !layer.ffn.sparse) continue;
      fate[layer.ffn.router] = Fate::left_out;
      fate[layer.ffn.fc2.weight] = fate[layer.ffn.fc2.bias] = Fate::scaled;
    }
  }
  return fate;
}

/// The stored tensors of a folder under the names of catalogue `to`, whose parameters stand in the same
/// order.
std::vector<Transfer> transfers(const StoredTensors& stored, const std::vector<Fate>& fate,
                                const Catalogue& to, double factor) {
  std::vector<Transfer> list;
  size_t next = 0;
  for (size_t p = 0; p < stored.size(); ++p) {
    if (fate[p] == Fate::left_out) continue;
    const ParameterSpec& spec = to.parameters[next++];
    for (size_t i = 0; i < stored[p].size(); ++i) {
      list.push_back({{spec.stored[i], stored[p][i].dtype, spec.stored_shape()}, stored[p][i]});
      if (fate[p] == Fate::reordered) {
        list.back().make = [from = stored[p][i]](int64_t) {
          at::Tensor order = at::arange(from.shape[0], at::kLong);
          order[kMadladUnk] = static_cast<int64_t>(kUnk);
          order[kUnk] = kMadladUnk;
          return as_tensor(from).index_select(0, order);
        };
      } else if (fate[p] == Fate::scaled) {
        list.back().make = [from = stored[p][i], factor](int64_t) {
          return as_tensor(from).to(at::kDouble).mul(factor);
        };
      }
    }
  }
  return list;
}

/// model.safetensors, or shards and their index.
void write_shards(const fs::path& folder, std::span<const Transfer> transfers, int64_t shard_size) {
  std::vector<std::span<const Transfer>> shards;
  size_t begin = 0, bytes = 0, total = 0;
  for (size_t i = 0; i < transfers.size(); ++i) {
    const size_t size = transfers[i].from.bytes.size();
    if (i > begin && std::cmp_greater(bytes + size, shard_size)) {
      shards.push_back(transfers.subspan(begin, i - begin));
      begin = i;
      bytes = 0;
    }
    bytes += size;
    total += size;
  }
  shards.push_back(transfers.subspan(begin));
  if (shards.size() == 1) {
    write_tensors(folder / kWeightsFile, transfers);
    return;
  }
  nlohmann::json index = {{"metadata", {{"total_size", total}}}};
  for (size_t s = 0; s < shards.size(); ++s) {
    const std::string file = fmt::format("model-{:05}-of-{:05}.safetensors", s + 1, shards.size());
    write_tensors(folder / file, shards[s]);
    for (const Transfer& transfer : shards[s]) index["weight_map"][transfer.tensor.name] = file;
  }
  write_json(folder / kIndexFile, index);
}

template <class Weights>
StoredTensors find_all(const Weights& weights, const Catalogue& catalogue) {
  const std::string no_prefix;
  return std::move(find_tensors(weights, catalogue, {&no_prefix, 1}).front());
}

/// Checked before the work: `out` may be written, and is not the folder that is read.
void check_out(const fs::path& out, const fs::path& from) {
  check_is_replaceable(out);
  std::error_code ignored;
  if (fs::equivalent(out, from, ignored))
    throw UserError("cannot write {}: it is the model that is read; choose another place", out.string());
}

/// A folder of transformers, but for its weights.
struct Imported {
  fs::path folder;
  Format format;
  ModelConfig config;
  Vocabulary vocabulary;
  bool madlad_unk = false;
};

template <class Weights>
void write_imported(const Imported& model, const Weights& weights, const fs::path& out) {
  check_tensor_count(model.config, weights.names().size(), model.folder);
  ModelConfig floating = model.config;
  floating.quantization = {};
  const Catalogue theirs = make_catalogue(floating, model.format);
  const StoredTensors stored = find_all(weights, theirs);
  check_values(stored, theirs, model.folder.string());
  const Catalogue native = make_catalogue(floating), made = make_catalogue(model.config);
  check_quantization(model.config, made);
  AtomicFolder whole(out, check_is_replaceable);
  std::vector<Transfer> list = transfers(stored, fates(native, false, model.madlad_unk), native, 1);
  QuantizationErrors errors;
  if (model.config.quantization.any()) list = quantized(std::move(list), native, made, errors);
  write_tensors(whole.temporary() / kWeightsFile, list);
  if (!errors.empty()) write_quantization_errors(whole.temporary(), errors);
  copy_language_detector(model.folder, whole.temporary());
  write_description(whole.temporary(), model.config, stored[native.embedding][0].dtype, model.vocabulary);
  whole.commit();
}

/// A checkpoint in parts. Memory: the largest parameter, in fp32.
void import_parts(const fs::path& checkpoint, const fs::path& out) {
  check_out(out, checkpoint);
  const Checkpoint verified = read_checkpoint(checkpoint);
  const ModelDescription model = describe_model(verified.folder);
  const Catalogue catalogue = make_catalogue(model.config);
  const std::vector<std::string> no_prefix = {""};
  const PartReader parts(verified.folder, catalogue, no_prefix);
  save_model(out, model.config, model.vocabulary, DType::f32, [&](const fs::path& weights) {
    Group alone;
    PartWriter whole(alone, weights, catalogue, no_prefix);
    for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
      const ParameterSpec& spec = catalogue.parameters[p];
      const TensorPart part = {.parameter = p,
                               .local = local_part(spec, Place()),
                               .data = at::empty({c10::multiply_integers(spec.shape)}, at::kFloat)};
      parts.read(0, part);
      whole.write(0, part);
    }
    whole.finish();
  });
}

}  // namespace

void import_model(const fs::path& folder, const fs::path& out, const QuantizationConfig& types) {
  if (is_in_parts(folder)) {
    if (types.any()) {
      throw UserError(
          "{}: a checkpoint in parts is imported as it is; chorus quantize makes another of the model",
          folder.string());
    }
    import_parts(folder, out);
    return;
  }
  if (!is_there(folder))
    throw UserError("{}: no such folder; a model of the Hugging Face hub has to be downloaded first",
                    folder.string());
  if (!fs::exists(folder / kConfigFile)) {
    throw UserError(
        "{}: no model folder of transformers, which has {}; models of Marian (.npz) and fairseq (.pt) have "
        "to be "
        "converted by transformers' scripts first",
        folder.string(), kConfigFile);
  }
  const nlohmann::json json = read_json(folder / kConfigFile);
  ModelConfig config;
  try {
    config = model_config_from_json(json);
  } catch (const UserError& error) {
    throw UserError("{}: {}", folder.string(), error.what());
  }
  check_out(out, folder);
  if (config.quantization.any())
    throw UserError("{}: its weights are quantized already: it is a model of chorus as it is",
                    folder.string());
  config.quantization = types;
  const Architecture& architecture = architecture_of(json);
  const Imported model = {folder, architecture.format, config,
                          read_tokenizer(folder, config.vocabulary, architecture.ids), has_madlad_unk(json)};
  check_kind(config, model.vocabulary, folder);
  check_rows(config, model.vocabulary, folder);
  const bool is_safe = fs::exists(folder / kWeightsFile) || fs::exists(folder / kIndexFile);
  if (!is_safe && TorchFolder::is_there(folder)) {
    write_imported(model, TorchFolder(folder), out);
  } else {
    write_imported(model, SafetensorsFolder(folder), out);
  }
}

void export_model(const fs::path& dir, const ExportOptions& options, const fs::path& out) {
  const ModelPlace place = find_model(dir);
  const ModelDescription model = describe_model(place.description);
  nlohmann::json json = to_json(model.config, options.format);
  check_out(out, place.weights);
  const SafetensorsFolder weights(place.weights);
  check_tensor_count(model.config, weights.names().size(), place.weights);
  const Catalogue native = make_catalogue(model.config);
  const StoredTensors stored = find_all(weights, native);
  ModelConfig exported = model.config;
  const bool becomes_dense = architecture_of(options.format).dense;
  if (becomes_dense) exported.moe.experts = 0;
  if (model.vocabulary.is_madlad()) json["decoder_start_token_id"] = kMadladUnk;
  json["torch_dtype"] = torch_name(stored[native.embedding][0].dtype);

  std::vector<Transfer> list =
      transfers(stored, fates(native, becomes_dense, model.vocabulary.is_madlad()),
                make_catalogue(exported, options.format), 1 - model.config.moe.expert_output_dropout);
  // With an output layer of its own, transformers takes the embeddings of encoder and decoder for other
  // tensors than the one they share, and makes them at random where they are missing.
  if (!model.config.tied_output) {
    for (const char* name : {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"}) {
      Transfer copy = list[native.embedding];
      copy.tensor.name = architecture_of(options.format).stored_name(name);
      list.push_back(copy);
    }
  }

  AtomicFolder whole(out, check_is_replaceable);
  write_shards(whole.temporary(), list, options.shard_size);
  write_json(whole.temporary() / kConfigFile, json);
  write_json(whole.temporary() / kGenerationFile, generation_config(json));
  write_tokenizer(whole.temporary(), model.vocabulary, model.config.max_positions);
  copy_language_detector(place.description, whole.temporary());
  whole.commit();
}

}  // namespace chorus::inline formats
