#include "formats/folder.h"

#include <algorithm>
#include <array>
#include <optional>
#include <system_error>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "detect/classifier.h"
#include "formats/expert_files.h"
#include "formats/folder_files.h"
#include "formats/stored_tensors.h"
#include "io/files.h"
#include "io/json.h"
#include "io/places.h"
#include "kernels/device.h"

#include "formats/internal/manifest.h"
#include "formats/internal/marian_tokenizer.h"
#include "formats/internal/tokenizer_files.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

constexpr std::array<std::string_view, 14> kModelFiles = {
    kWeightsFile,      kIndexFile,         kConfigFile,        kGenerationFile, kPiecesFile,
    kPiecesModel,      kT5PiecesModel,     kTokenizerConfig,   kSpecialTokens,  kManifestFile,
    kQuantizationFile, kSourcePiecesModel, kTargetPiecesModel, kClassifierFile};
constexpr std::array<const char*, 5> kVocabularyFiles = {kPiecesFile, kPiecesModel, kT5PiecesModel,
                                                         kSourcePiecesModel, kTargetPiecesModel};

/// MADLAD's has our ids.
TokenIds ids_of(const ModelConfig& config) {
  return config.decoder_start == kUnk ? TokenIds::fairseq : native_architecture(config).ids;
}
TokenIds ids_of(const Vocabulary& vocabulary) {
  return vocabulary.is_t5() ? TokenIds::t5 : vocabulary.is_marian() ? TokenIds::marian : TokenIds::fairseq;
}

void fill(const ParameterSpec& spec, const at::Tensor& whole, const std::vector<TensorView>& slices) {
  const at::NoGradGuard plain;
  for (size_t i = 0; i < slices.size(); ++i) {
    const at::Tensor stored = as_tensor(slices[i]);
    slice(spec, whole, i).copy_(whole.scalar_type() == at::kByte ? stored : from_stored(spec, stored));
  }
}

/// A parameter as memory has it: of its own shape, or quantized.
struct ValueInMemory {
  std::vector<int64_t> shape;
  at::ScalarType type;
};
ValueInMemory value_in_memory(const ParameterSpec& spec, at::ScalarType type) {
  if (spec.quantization == Quantization::none) return {spec.shape, type};
  std::vector<int64_t> shape = spec.file_shape();
  if (spec.sliced) shape.insert(shape.begin(), std::ssize(spec.stored));
  return {shape, at::kByte};
}

uint64_t bytes_in_memory(const Catalogue& catalogue, at::ScalarType compute) {
  uint64_t bytes = 0;
  for (const ParameterSpec& spec : catalogue.parameters) {
    const ValueInMemory value = value_in_memory(spec, value_type(spec, compute));
    bytes += static_cast<uint64_t>(c10::multiply_integers(value.shape)) * c10::elementSize(value.type);
  }
  return bytes;
}

/// Returns the value where it lies in its file, which the tensor keeps open; undefined when it does not lie there as
/// one tensor of that type.
at::Tensor in_file(const std::shared_ptr<const SafetensorsFolder>& file, const ParameterSpec& spec,
                   const ValueInMemory& value, const std::vector<TensorView>& slices) {
  if (spec.row_shift != 0) return {};
  const std::byte* const begin = slices.front().bytes.data();
  const std::byte* end = begin;
  for (const TensorView& part : slices) {
    if (scalar_type(part.dtype) != value.type || part.bytes.data() != end) return {};
    end += part.bytes.size();
  }
  if (begin == end || reinterpret_cast<uintptr_t>(begin) % size_of(slices.front().dtype) != 0) return {};
  return at::from_blob(
      const_cast<std::byte*>(begin), value.shape, [file](void*) {}, value.type);
}

template <class File>
void load(const File& file, const Catalogue& catalogue, std::span<const TensorSet> sets) {
  std::vector<std::string> prefixes;
  for (const TensorSet& set : sets) prefixes.push_back(set.prefix);
  const std::vector<StoredTensors> stored = find_tensors(file, catalogue, prefixes);
  for (size_t s = 0; s < sets.size(); ++s)
    for (size_t p = 0; p < catalogue.parameters.size(); ++p)
      fill(catalogue.parameters[p], sets[s].tensor(p), stored[s][p]);
}

/// The vocabulary of a native folder, whose configuration is `json`, read as `config`.
Vocabulary load_vocabulary(const fs::path& folder, const nlohmann::json& json, const ModelConfig& config) {
  const nlohmann::json own = json.value("chorus", nlohmann::json::object());
  const auto read = [&]<class T>(const char* key, T fallback) {
    const auto it = own.find(key);
    if (it == own.end()) return fallback;
    if (std::optional<T> value = exactly<T>(*it)) return std::move(*value);
    throw UserError("{}: config.json: chorus.{} has the wrong type", folder.string(), key);
  };
  VocabularyLayout layout;
  const auto hash = read("vocabulary", std::string());
  const auto languages = read("languages", std::vector<std::string>());
  const auto ids = read("language_ids", std::vector<int32_t>(languages.size(), LanguageTag::kNext));
  if (languages.size() != ids.size())
    throw UserError("{}: config.json: chorus.languages and chorus.language_ids differ in length",
                    folder.string());
  for (size_t i = 0; i < ids.size(); ++i) layout.tags.push_back({languages[i], ids[i]});
  layout.extra_ids = read("extra_ids", layout.extra_ids);
  const auto words = read("added_words", std::vector<std::string>());
  const auto word_ids = read("added_word_ids", std::vector<int32_t>());
  const auto special = read("special_words", std::vector<std::string>());
  if (words.size() != word_ids.size())
    throw UserError("{}: config.json: chorus.added_words and chorus.added_word_ids differ in length",
                    folder.string());
  for (size_t i = 0; i < words.size(); ++i)
    layout.words.push_back({words[i], word_ids[i], std::ranges::find(special, words[i]) != special.end()});
  const bool is_marian = ids_of(config) == TokenIds::marian;
  if (is_marian) {
    layout = read_marian_layout(folder);
    layout.source_language = read("source_language", std::string());
    layout.target_language = read("target_language", std::string());
  } else if (fs::exists(folder / kPiecesFile)) {
    layout.pieces = read_pieces(folder / kPiecesFile);
  }
  layout.target_tag_on_source = read("target_tag_on_source", false);
  const fs::path path = folder / vocabulary_file(ids_of(config));
  Vocabulary vocabulary = Vocabulary::load(path, layout);
  if (!hash.empty() && hash != hash_text(vocabulary.hash()))
    throw UserError("{} is not the vocabulary that this model was trained with (its hash is {}, not {})",
                    path.string(), hash_text(vocabulary.hash()), in_quotes(hash));
  check_kind(config, vocabulary, folder);
  return vocabulary;
}

}  // namespace

void check_not_quantized(const ModelConfig& config, const fs::path& folder) {
  if (config.quantization.any())
    throw UserError("{}: its weights are quantized already: quantize the model that it was made from",
                    folder.string());
}

void write_json(const fs::path& path, const nlohmann::json& json) {
  write_file_atomically(path, json.dump(2) + "\n");
}

const char* vocabulary_file(TokenIds ids) {
  return ids == TokenIds::t5 ? kT5PiecesModel : ids == TokenIds::marian ? kSourcePiecesModel : kPiecesModel;
}

std::span<const char* const> vocabulary_files() {
  return kVocabularyFiles;
}

nlohmann::json generation_config(const nlohmann::json& config) {
  nlohmann::json json = {{"_from_model_config", true}, {"max_length", 200}};
  for (const char* key : {"bad_words_ids", "bos_token_id", "decoder_start_token_id", "eos_token_id",
                          "forced_eos_token_id", "pad_token_id"})
    if (config.contains(key)) json[key] = config[key];
  return json;
}

void check_kind(const ModelConfig& config, const Vocabulary& vocabulary, const fs::path& folder) {
  const bool madlad = config.decoder_start == kUnk, t5 = ids_of(config) == TokenIds::t5;
  if (ids_of(config) == ids_of(vocabulary) && vocabulary.is_madlad() == madlad) return;
  throw UserError("{}: the special tokens of its SentencePiece model are not {}, which config.json says",
                  folder.string(),
                  t5       ? "T5's, <pad> </s> <unk>"
                  : madlad ? "MADLAD's, <unk> <s> </s>, a newline and <2xx>"
                           : "those of NLLB and M2M100, <unk> <s> </s>");
}

void check_rows(const ModelConfig& config, const Vocabulary& vocabulary, const fs::path& folder) {
  if (vocabulary.size() > config.vocabulary) {
    throw UserError("{} has {} pieces, more than the {} rows of the model's embedding",
                    (folder / vocabulary_file(ids_of(vocabulary))).string(), vocabulary.size(),
                    config.vocabulary);
  }
  if (vocabulary.is_marian() && vocabulary.size() < config.vocabulary)
    throw UserError("{} has {} tokens, fewer than the {} rows of the model's embedding",
                    (folder / kPiecesFile).string(), vocabulary.size(), config.vocabulary);
}

uint64_t save_tensors(const fs::path& path, const Catalogue& catalogue, std::span<const TensorSet> sets,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<TensorSpec> tensors;
  for (const TensorSet& set : sets) add_specs(catalogue, set.prefix, set.dtype, tensors);
  SafetensorsWriter writer(path, tensors, metadata);
  for (const TensorSet& set : sets) {
    for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
      const ParameterSpec& spec = catalogue.parameters[p];
      const at::Tensor whole = set.tensor(p).detach();
      for (size_t i = 0; i < spec.stored.size(); ++i) {
        const at::Tensor part =
            to_stored(spec, slice(spec, whole, i).to(at::kCPU, *scalar_type(set.dtype))).contiguous();
        writer.write(set.prefix + spec.stored[i], bytes_of(part));
      }
    }
  }
  writer.commit();
  return writer.hash();
}

void load_tensors(const SafetensorsFile& file, const Catalogue& catalogue, std::span<const TensorSet> sets) {
  load(file, catalogue, sets);
}

void load_tensors(const SafetensorsFolder& folder, const Catalogue& catalogue,
                  std::span<const TensorSet> sets) {
  load(folder, catalogue, sets);
}

ModelDescription describe_model(const fs::path& folder) {
  const nlohmann::json json = read_json(folder / kConfigFile);
  check_manifest(folder, kConfigFile);
  ModelConfig config;
  try {
    config = model_config_from_json(json);
    if (&architecture_of(json) != &native_architecture(config))
      throw UserError("of another format: `chorus import` it first");
  } catch (const UserError& error) {
    throw UserError("{}: {}", folder.string(), error.what());
  }
  Vocabulary vocabulary = load_vocabulary(folder, json, config);
  for (const char* file : kVocabularyFiles) check_manifest(folder, file);
  check_rows(config, vocabulary, folder);
  return {config, std::move(vocabulary)};
}

LoadedModel load_model(const fs::path& dir, const Transformer::Options& options) {
  const ModelPlace place = find_model(dir);
  return load_model(place.weights, describe_model(place.description), options);
}

LoadedModel load_model(const fs::path& folder, ModelDescription description,
                       const Transformer::Options& options, uint64_t memory) {
  const auto weights = std::make_shared<const SafetensorsFolder>(folder);
  check_tensor_count(description.config, weights->names().size(), folder);
  // Checked before memory is allocated for a model of which only a configuration is known.
  const Catalogue catalogue = make_catalogue(description.config);
  const bool may_stay = is_host(options.device) && !options.gradients;
  Transformer::Options made = options;
  made.empty = may_stay;
  if (description.config.quantization.any() && may_stay) {
    if (options.compute == at::kBFloat16) made.caches = at::kBFloat16;
    made.compute = at::kFloat;  // rows of fp32 go into and come out of its products
  }
  const bool bounded = bytes_in_memory(catalogue, made.compute) > memory;
  if (bounded && !may_stay)
    throw UserError("{}: a bounded memory is for the CPU: on {} all experts are there", folder.string(),
                    options.device.str());
  const std::string no_prefix;
  const StoredTensors stored = std::move(find_tensors(*weights, catalogue, {&no_prefix, 1},
                                                      bounded ? experts_in_file(catalogue) : TensorFilter())
                                             .front());
  if (options.gradients && description.config.quantization.any())
    throw UserError("{}: quantized weights have no gradients", folder.string());
  LoadedModel loaded = {std::make_unique<Transformer>(description.config, made),
                        std::move(description.vocabulary)};
  const std::vector<ParameterSpec>& specs = loaded.model->catalogue().parameters;
  for (size_t p = 0; p < specs.size(); ++p) {
    if (bounded && may_stay_in_file(specs[p])) continue;
    const std::vector<TensorView>& slices = stored[p];
    Parameter& parameter = loaded.model->parameters()[p];
    if (!may_stay) {
      fill(specs[p], parameter.value, slices);
      continue;
    }
    const ValueInMemory kept = value_in_memory(specs[p], parameter.value.scalar_type());
    parameter.value = in_file(weights, specs[p], kept, slices);
    if (!parameter.value.defined()) {
      parameter.value = at::empty(kept.shape, kept.type);
      fill(specs[p], parameter.value, slices);
    }
    if (specs[p].quantization == Quantization::none) continue;
    const std::vector<int64_t> shape = specs[p].stored_shape();
    parameter.set_quantized(parameter.value, specs[p].quantization, shape[0], shape[1]);
  }
  if (bounded) {
    loaded.experts = store_experts(*loaded.model, *weights, stored, memory);
    loaded.model->borrow_experts(loaded.experts.get());
  }
  return loaded;
}

bool is_model_file(std::string_view name) {
  constexpr std::string_view kShard = "model-00000-of-00000.safetensors";  // any digits
  const auto fits = [](char c, char pattern) { return pattern == '0' ? c >= '0' && c <= '9' : c == pattern; };
  return std::ranges::find(kModelFiles, name) != kModelFiles.end() || std::ranges::equal(name, kShard, fits);
}

/// Whether chorus has written a model folder: by its checksums or settings.
bool is_by_chorus(const fs::path& folder, const std::vector<std::string>& names) {
  if (is_there(folder / kManifestFile)) return true;
  try {
    if (read_json(folder / kConfigFile).contains("chorus")) return true;
    return std::ranges::any_of(names, [&](const std::string& name) {
      return name.ends_with(".safetensors") && SafetensorsFile(folder / name).has_checksums();
    });
  } catch (const UserError&) {  // what is damaged is nobody's
    return false;
  }
}

void check_is_replaceable(const fs::path& folder) {
  const fs::path path = without_end_slash(folder);
  const auto refuse = [&](std::string_view why) {
    throw UserError("cannot write {}: it {}; choose another place", path.string(), why);
  };
  std::error_code error;
  const fs::file_type type = fs::symlink_status(path, error).type();
  if (type == fs::file_type::not_found) return;
  if (type == fs::file_type::none) refuse(fmt::format("cannot be looked at: {}", error.message()));
  if (type == fs::file_type::symlink) refuse("is a symbolic link");
  if (type != fs::file_type::directory) refuse("is there and is not a model");
  std::vector<std::string> names, strangers;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
    if (!is_model_file(names.back()) || it->symlink_status(error).type() != fs::file_type::regular)
      strangers.push_back(names.back());
  }
  if (error) refuse(fmt::format("cannot be looked into: {}", error.message()));
  if (names.empty()) return;
  if (std::ranges::find(names, kConfigFile) == names.end()) refuse("is there and is not a model");
  if (!strangers.empty())
    refuse(fmt::format("holds {}, which is no model's", in_quotes(*std::ranges::min_element(strangers))));
  if (!is_by_chorus(path, names)) refuse("is a model that chorus has not written");
}

void write_description(const fs::path& folder, const ModelConfig& model, DType dtype,
                       const Vocabulary& vocabulary) {
  nlohmann::json config = to_json(model);
  nlohmann::json &own = config["chorus"], names = nlohmann::json::array(), ids = nlohmann::json::array();
  bool consecutive = true;
  for (const LanguageTag& tag : vocabulary.layout().tags) {
    consecutive = consecutive && std::cmp_equal(tag.id, vocabulary.pieces_end() + ids.size());
    names.push_back(tag.language);
    ids.push_back(tag.id);
  }
  own["languages"] = names;
  if (!consecutive) own["language_ids"] = ids;
  for (const AddedWord& word : vocabulary.layout().words) {
    own["added_words"].push_back(word.text);
    own["added_word_ids"].push_back(word.id);
    if (word.special) own["special_words"].push_back(word.text);
  }
  if (vocabulary.layout().target_tag_on_source) own["target_tag_on_source"] = true;
  if (vocabulary.is_marian()) {
    own["source_language"] = vocabulary.layout().source_language;
    own["target_language"] = vocabulary.layout().target_language;
  }
  if (vocabulary.is_t5()) own["extra_ids"] = vocabulary.layout().extra_ids;
  own["vocabulary"] = hash_text(vocabulary.hash());
  config["torch_dtype"] = torch_name(dtype);
  write_json(folder / kConfigFile, config);
  write_json(folder / kGenerationFile, generation_config(config));
  write_file_atomically(folder / vocabulary_file(ids_of(vocabulary)), vocabulary.sentencepiece());
  if (vocabulary.is_marian()) {
    write_marian_layout(folder, vocabulary.layout());
  } else if (!vocabulary.layout().pieces.empty()) {
    write_pieces(folder / kPiecesFile, vocabulary.layout().pieces);
  }
  write_manifest(folder);
}

void save_model(const fs::path& folder, const ModelToSave& model) {
  const TensorSet set = {.prefix = "", .dtype = model.dtype, .tensor = model.weights};
  save_model(folder, model.config, model.vocabulary, model.dtype, [&](const fs::path& path) {
    save_tensors(path, model.catalogue, {&set, 1});
  });
}

void save_model(const fs::path& folder, const ModelConfig& config, const Vocabulary& vocabulary, DType dtype,
                const std::function<void(const fs::path&)>& write_weights) {
  AtomicFolder whole(folder, check_is_replaceable);
  write_weights(whole.temporary() / kWeightsFile);
  write_description(whole.temporary(), config, dtype, vocabulary);
  whole.commit();
}

}  // namespace chorus::inline formats
