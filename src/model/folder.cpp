#include "chorus/model/folder.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <set>
#include <system_error>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <fcntl.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/json.h"

namespace chorus {
namespace fs = std::filesystem;
namespace {

constexpr const char* kWeightsFile = "model.safetensors";
constexpr const char* kConfigFile = "config.json";
constexpr const char* kVocabularyFile = "sentencepiece.bpe.model";
constexpr std::string_view kBody = "model.";  // what transformers puts before all but the output layer

constexpr std::array<std::pair<DType, at::ScalarType>, 4> kTypes = {{{DType::f32, at::kFloat},
                                                                     {DType::bf16, at::kBFloat16},
                                                                     {DType::f16, at::kHalf},
                                                                     {DType::f64, at::kDouble}}};

std::optional<at::ScalarType> scalar_type(DType dtype) {
  for (const auto& [ours, theirs] : kTypes)
    if (ours == dtype) return theirs;
  return std::nullopt;
}

/// The part of a parameter that one stored tensor holds.
at::Tensor slice(const ParameterSpec& spec, const at::Tensor& whole, size_t i) {
  return spec.sliced ? whole.select(0, static_cast<int64_t>(i)) : whole;
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

/// A tensor over the bytes of a file, or a copy of them where they are not aligned.
at::Tensor as_tensor(const TensorView& view) {
  const at::ScalarType type = *scalar_type(view.dtype);
  const auto address = reinterpret_cast<uintptr_t>(view.bytes.data());
  if (address % size_of(view.dtype) == 0 && !view.bytes.empty())
    return at::from_blob(const_cast<std::byte*>(view.bytes.data()), view.shape, type);  // only read from
  at::Tensor copy = at::empty(view.shape, type);
  if (!view.bytes.empty()) std::memcpy(copy.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  return copy;
}

bool equal(const TensorView& a, const TensorView& b) {
  return a.dtype == b.dtype && a.shape == b.shape && std::ranges::equal(a.bytes, b.bytes);
}

std::string_view without_body(std::string_view name) {
  return name.starts_with(kBody) ? name.substr(kBody.size()) : name;
}

bool ties_to_embedding(std::string_view name) {
  name = without_body(name);
  return name == "lm_head.weight" || name == "encoder.embed_tokens.weight" ||
         name == "decoder.embed_tokens.weight";
}

bool is_sinusoidal_table(std::string_view name) {
  name = without_body(name);
  return name == "encoder.embed_positions.weights" || name == "decoder.embed_positions.weights";
}

/// Where each stored tensor of the sets lies in a file or folder.
template <class File>
class Resolver {
 public:
  Resolver(const File& file, std::string where, const Catalogue& catalogue)
      : file_(file), where_(std::move(where)), catalogue_(catalogue), names_(file.names()) {}

  /// [parameter][slice] for one set.
  std::vector<std::vector<TensorView>> resolve(const std::string& prefix) {
    std::vector<std::vector<TensorView>> views;
    for (const ParameterSpec& spec : catalogue_.parameters) {
      const bool is_embedding = views.size() == catalogue_.embedding;
      std::vector<TensorView>& slices = views.emplace_back();
      for (const std::string& stored : spec.stored) slices.push_back(find(prefix, stored, is_embedding));
      for (size_t i = 0; i < slices.size(); ++i) check(prefix + spec.stored[i], spec, slices[i]);
    }
    const TensorView& embedding = views[catalogue_.embedding][0];
    for (const std::string& name : names_) {
      const std::string_view rest =
          std::string_view(name).starts_with(prefix) ? std::string_view(name).substr(prefix.size()) : "";
      if (used_.contains(name) || !(ties_to_embedding(rest) || is_sinusoidal_table(rest))) continue;
      if (ties_to_embedding(rest) && !equal(file_.get(name), embedding))
        throw UserError("{}: tensor {} differs from the embedding, which this version needs tied to it",
                        where_, in_quotes(name));
      used_.insert(name);
    }
    return views;
  }

  /// After the last set.
  void refuse_left_over() const {
    for (const std::string& name : names_) {
      if (!used_.contains(name)) {
        throw UserError("{}: tensor {} has no place in the model that config.json describes", where_,
                        in_quotes(name));
      }
    }
  }

 private:
  TensorView find(const std::string& prefix, const std::string& stored, bool is_embedding) {
    std::vector<std::string> candidates = {stored, std::string(without_body(stored))};
    if (is_embedding)
      for (const char* tie : {"lm_head.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight"})
        candidates.insert(candidates.end(), {std::string(kBody) + tie, tie});
    for (const std::string& candidate : candidates) {
      if (const std::string name = prefix + candidate; file_.contains(name)) {
        used_.insert(name);
        return file_.get(name);
      }
    }
    throw UserError("{}: tensor {} is missing", where_, in_quotes(prefix + stored));
  }

  void check(const std::string& name, const ParameterSpec& spec, const TensorView& view) const {
    if (view.shape != spec.stored_shape()) {
      throw UserError("{}: tensor {} has shape [{}], not the [{}] of the model that config.json describes",
                      where_, in_quotes(name), fmt::join(view.shape, ", "),
                      fmt::join(spec.stored_shape(), ", "));
    }
    if (!scalar_type(view.dtype))
      throw UserError("{}: tensor {} is of type {}, not of a floating type", where_, in_quotes(name),
                      name_of(view.dtype));
  }

  const File& file_;
  std::string where_;
  const Catalogue& catalogue_;
  std::vector<std::string> names_;
  std::set<std::string, std::less<>> used_;
};

using Views = std::vector<std::vector<TensorView>>;  // [parameter][slice]

/// After a look at every checksum, if there are any: where each set's tensors lie.
template <class File>
std::vector<Views> resolve(const File& file, const std::string& where, const Catalogue& catalogue,
                           std::span<const TensorSet> sets) {
  static_cast<void>(file.verify());  // other programs' files carry none
  Resolver<File> resolver(file, where, catalogue);
  std::vector<Views> views;
  for (const TensorSet& set : sets) views.push_back(resolver.resolve(set.prefix));
  resolver.refuse_left_over();
  return views;
}

void fill(const Catalogue& catalogue, const TensorSet& set, const Views& views) {
  const at::NoGradGuard plain;
  for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
    const at::Tensor whole = set.tensor(p);
    for (size_t i = 0; i < views[p].size(); ++i)
      slice(catalogue.parameters[p], whole, i).copy_(as_tensor(views[p][i]));
  }
}

template <class File>
void load(const File& file, const std::string& where, const Catalogue& catalogue,
          std::span<const TensorSet> sets) {
  const std::vector<Views> views = resolve(file, where, catalogue, sets);
  for (size_t s = 0; s < sets.size(); ++s) fill(catalogue, sets[s], views[s]);
}

std::string place_of(const SafetensorsFolder& folder) {
  const fs::path& first = folder.files().front().path();
  return (folder.files().size() == 1 ? first : first.parent_path()).string();
}

// A configuration may be anything: this bounds the catalogue made from it by the size of the weights' file.
void check_tensor_count(const ModelConfig& config, const SafetensorsFolder& folder, const fs::path& path) {
  const auto sparse = [&](int64_t layers, int64_t every) { return every > 0 ? layers / every : 0; };
  const int64_t layers = sparse(config.encoder_layers, config.moe.encoder_every) +
                         sparse(config.decoder_layers, config.moe.decoder_every);
  if (const size_t tensors = folder.names().size();
      static_cast<uint64_t>(layers) * static_cast<uint64_t>(config.moe.experts) > tensors)
    throw UserError("{}: config.json describes {} layers of {} experts, but the weights are {} tensors",
                    path.string(), layers, config.moe.experts, tensors);
}

nlohmann::json generation_config() {
  return {{"_from_model_config", true}, {"bos_token_id", kBos}, {"decoder_start_token_id", kEos},
          {"eos_token_id", kEos},       {"pad_token_id", kPad}, {"max_length", 200}};
}

/// Languages whose tags follow the pieces of the SentencePiece model.
std::vector<std::string> added_languages(const ModelToSave& model) {
  const Vocabulary pieces = Vocabulary::load(model.sentencepiece);
  const std::vector<std::string>& all = model.vocabulary.languages();
  std::vector<std::string> added(all.begin() + static_cast<int64_t>(pieces.languages().size()), all.end());
  const Vocabulary whole = added.empty() ? pieces : Vocabulary::load(model.sentencepiece, added);
  if (whole.hash() != model.vocabulary.hash())
    throw UserError("{} is not the vocabulary of this model any more: was it replaced?",
                    model.sentencepiece.string());
  return added;
}

/// A folder that is removed again unless it was given its name.
class NewFolder {
 public:
  explicit NewFolder(fs::path name) : target_(std::move(name)) {
    const fs::path parent = target_.parent_path().empty() ? fs::path(".") : target_.parent_path();
    path_ = temporary_name(parent);
    std::error_code error;
    fs::create_directory(path_, error);
    if (error) throw UserError("cannot write {}: {}", target_.string(), error.message());
  }
  ~NewFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);  // after replace(): what was there before
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

  void replace() {
    sync_to_disk(path_);
    int result = ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE);
    if (result != 0 && errno == ENOENT) result = ::rename(path_.c_str(), target_.c_str());
    // A file system that cannot exchange names: for a moment neither is there under its name.
    if (result != 0 && (errno == EINVAL || errno == ENOSYS)) {
      const fs::path before = temporary_name(path_.parent_path());
      result = ::rename(target_.c_str(), before.c_str());
      if (result == 0) result = ::rename(path_.c_str(), target_.c_str());
      if (result == 0) path_ = before;
    }
    if (result != 0)
      throw Error("cannot write {}: {}", target_.string(), std::generic_category().message(errno));
    sync_to_disk(path_.parent_path());
  }

 private:
  fs::path target_, path_;
};

}  // namespace

uint64_t save_tensors(const fs::path& path, const Catalogue& catalogue, std::span<const TensorSet> sets,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<TensorSpec> tensors;
  for (const TensorSet& set : sets) {
    for (const ParameterSpec& spec : catalogue.parameters) {
      for (const std::string& stored : spec.stored) {
        tensors.push_back({set.prefix + stored, set.dtype, spec.stored_shape()});
      }
    }
  }
  SafetensorsWriter writer(path, tensors, metadata);
  for (const TensorSet& set : sets) {
    for (size_t p = 0; p < catalogue.parameters.size(); ++p) {
      const ParameterSpec& spec = catalogue.parameters[p];
      const at::Tensor whole = set.tensor(p).detach();
      for (size_t i = 0; i < spec.stored.size(); ++i) {
        const at::Tensor part = slice(spec, whole, i).to(at::kCPU, *scalar_type(set.dtype)).contiguous();
        writer.write(set.prefix + spec.stored[i], bytes_of(part));
      }
    }
  }
  writer.commit();
  return writer.hash();
}

void load_tensors(const SafetensorsFile& file, const Catalogue& catalogue, std::span<const TensorSet> sets) {
  load(file, file.path().string(), catalogue, sets);
}

void load_tensors(const SafetensorsFolder& folder, const Catalogue& catalogue,
                  std::span<const TensorSet> sets) {
  load(folder, place_of(folder), catalogue, sets);
}

fs::path find_model_folder(const fs::path& dir) {
  for (const fs::path& folder : {dir, dir / "model"}) {
    std::error_code ignored;
    if (fs::exists(folder / kConfigFile, ignored)) return folder;
  }
  if (!fs::exists(dir)) throw UserError("{}: no such folder", dir.string());
  throw UserError("{} is no model: it has neither {} nor model/{}", dir.string(), kConfigFile, kConfigFile);
}

ModelDescription describe_model(const fs::path& folder) {
  const nlohmann::json json = read_json(folder / kConfigFile);
  ModelConfig config;
  try {
    config = model_config_from_json(json);
  } catch (const UserError& error) {
    throw UserError("{}: {}", folder.string(), error.what());
  }
  const nlohmann::json own = json.value("chorus", nlohmann::json::object());
  std::vector<std::string> added;
  std::string hash;
  try {
    added = own.value("languages", added);
    hash = own.value("vocabulary", hash);
  } catch (const nlohmann::json::exception&) {
    throw UserError("{}: config.json: chorus.languages or chorus.vocabulary has the wrong type",
                    folder.string());
  }
  const fs::path path = folder / kVocabularyFile;
  Vocabulary vocabulary = Vocabulary::load(path, added);
  if (!hash.empty() && hash != hash_text(vocabulary.hash()))
    throw UserError("{} is not the vocabulary that this model was trained with (its hash is {}, not {})",
                    path.string(), hash_text(vocabulary.hash()), in_quotes(hash));
  if (vocabulary.size() > config.vocabulary)
    throw UserError("{} has {} pieces, more than the {} rows of the model's embedding", path.string(),
                    vocabulary.size(), config.vocabulary);
  return {config, std::move(vocabulary)};
}

LoadedModel load_model(const fs::path& dir, const Transformer::Options& options) {
  const fs::path folder = find_model_folder(dir);
  return load_model(folder, describe_model(folder), options);
}

LoadedModel load_model(const fs::path& folder, ModelDescription description,
                       const Transformer::Options& options) {
  const SafetensorsFolder weights(folder);
  check_tensor_count(description.config, weights, folder);
  TensorSet set;
  // Before memory for a model is taken at the word of a configuration.
  const std::vector<Views> views =
      resolve(weights, place_of(weights), make_catalogue(description.config), {&set, 1});
  LoadedModel loaded = {std::make_unique<Transformer>(description.config, options),
                        std::move(description.vocabulary)};
  set.tensor = [&](size_t i) { return loaded.model->parameters()[i].value; };
  fill(loaded.model->catalogue(), set, views.front());
  return loaded;
}

void save_model(const fs::path& target, const ModelToSave& model) {
  const fs::path folder = target.has_filename() ? target : target.parent_path();
  std::error_code ignored;
  if (fs::exists(folder, ignored) && !fs::exists(folder / kConfigFile, ignored) &&
      !fs::is_empty(folder, ignored))
    throw UserError("cannot write {}: it is there and is not a model; choose another place", folder.string());
  nlohmann::json config = to_json(model.config);
  config["chorus"]["languages"] = added_languages(model);
  config["chorus"]["vocabulary"] = hash_text(model.vocabulary.hash());
  for (const auto& [dtype, name] : {std::pair{DType::bf16, "bfloat16"}, {DType::f16, "float16"}})
    if (dtype == model.dtype) config["torch_dtype"] = name;
  NewFolder temporary(folder);
  const TensorSet set = {.prefix = "", .dtype = model.dtype, .tensor = model.weights};
  save_tensors(temporary.path() / kWeightsFile, model.catalogue, {&set, 1});
  write_file_atomically(temporary.path() / kConfigFile, config.dump(2) + "\n");
  write_file_atomically(temporary.path() / "generation_config.json", generation_config().dump(2) + "\n");
  write_file_atomically(temporary.path() / kVocabularyFile, read_file(model.sentencepiece));
  temporary.replace();
}

}  // namespace chorus
