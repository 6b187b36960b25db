#include "stored_tensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <set>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/roll.h>
#include <fmt/ranges.h>

#include "chorus/base/error.h"
#include "chorus/base/json.h"

namespace chorus {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kBody = "model.";  // what transformers puts before all but the output layer

constexpr std::array<std::pair<DType, at::ScalarType>, 4> kTypes = {{{DType::f32, at::kFloat},
                                                                     {DType::bf16, at::kBFloat16},
                                                                     {DType::f16, at::kHalf},
                                                                     {DType::f64, at::kDouble}}};

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
  StoredTensors resolve(const std::string& prefix) {
    StoredTensors views;
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
    if (is_embedding) {
      for (const char* tie :
           {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"}) {
        if (catalogue_.output == catalogue_.embedding || tie != std::string_view("lm_head.weight"))
          candidates.insert(candidates.end(), {std::string(kBody) + tie, tie});
      }
    }
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

template <class File>
std::vector<StoredTensors> find(const File& file, std::string where, const Catalogue& catalogue,
                                std::span<const std::string> prefixes) {
  Resolver<File> resolver(file, std::move(where), catalogue);
  std::vector<StoredTensors> stored;
  for (const std::string& prefix : prefixes) stored.push_back(resolver.resolve(prefix));
  resolver.refuse_left_over();
  return stored;
}

}  // namespace

void add_specs(const Catalogue& catalogue, const std::string& prefix, DType dtype,
               std::vector<TensorSpec>& tensors) {
  for (const ParameterSpec& spec : catalogue.parameters) {
    for (const std::string& stored : spec.stored) {
      tensors.push_back({prefix + stored, dtype, spec.stored_shape()});
    }
  }
}

std::optional<at::ScalarType> scalar_type(DType dtype) {
  for (const auto& [ours, theirs] : kTypes)
    if (ours == dtype) return theirs;
  return std::nullopt;
}

at::Tensor slice(const ParameterSpec& spec, const at::Tensor& whole, size_t i) {
  return spec.sliced ? whole.select(0, static_cast<int64_t>(i)) : whole;
}

at::Tensor from_stored(const ParameterSpec& spec, const at::Tensor& stored) {
  return spec.row_shift == 0 ? stored : at::roll(stored, spec.row_shift, 0);
}

at::Tensor to_stored(const ParameterSpec& spec, const at::Tensor& part) {
  return spec.row_shift == 0 ? part : at::roll(part, -spec.row_shift, 0);
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

at::Tensor as_tensor(const TensorView& view) {
  const at::ScalarType type = *scalar_type(view.dtype);
  const auto address = reinterpret_cast<uintptr_t>(view.bytes.data());
  if (address % size_of(view.dtype) == 0 && !view.bytes.empty())
    return at::from_blob(const_cast<std::byte*>(view.bytes.data()), view.shape, type);  // only read from
  at::Tensor copy = at::empty(view.shape, type);
  if (!view.bytes.empty()) std::memcpy(copy.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  return copy;
}

std::string torch_name(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "float64";
    case DType::f32:
      return "float32";
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
    default:
      throw Error("{} is not a floating type", name_of(dtype));
  }
}

std::vector<StoredTensors> find_tensors(const SafetensorsFile& file, const Catalogue& catalogue,
                                        std::span<const std::string> prefixes) {
  static_cast<void>(file.verify());  // other programs' files carry no checksums
  return find_tensors_unverified(file, catalogue, prefixes);
}

std::vector<StoredTensors> find_tensors_unverified(const SafetensorsFile& file, const Catalogue& catalogue,
                                                   std::span<const std::string> prefixes) {
  return find(file, file.path().string(), catalogue, prefixes);
}

std::vector<StoredTensors> find_tensors(const SafetensorsFolder& folder, const Catalogue& catalogue,
                                        std::span<const std::string> prefixes) {
  static_cast<void>(folder.verify());
  const fs::path& first = folder.files().front().path();
  const fs::path& where = folder.files().size() == 1 ? first : first.parent_path();
  return find(folder, where.string(), catalogue, prefixes);
}

void write_tensors(const fs::path& path, std::span<const Transfer> transfers) {
  std::vector<TensorSpec> tensors;
  tensors.reserve(transfers.size());
  for (const Transfer& transfer : transfers) tensors.push_back(transfer.tensor);
  SafetensorsWriter writer(path, tensors);
  for (const Transfer& transfer : transfers) {
    if (!transfer.make) writer.write(transfer.tensor.name, transfer.from.bytes);
    for (int64_t piece = 0; transfer.make && piece < transfer.pieces; ++piece) {
      const at::Tensor value = transfer.make(piece).to(*scalar_type(transfer.tensor.dtype)).contiguous();
      writer.write(transfer.tensor.name, bytes_of(value));
    }
  }
  writer.commit();
}

void check_tensor_count(const ModelConfig& config, const SafetensorsFolder& folder, const fs::path& path) {
  const std::vector<int64_t> experts = config.expert_counts();
  if (const size_t tensors = folder.names().size();
      std::cmp_greater(std::accumulate(experts.begin(), experts.end(), int64_t{0}), tensors))
    throw UserError("{}: config.json describes {} layers of {} experts, but the weights are {} tensors",
                    path.string(), experts.size(), config.moe.experts, tensors);
}

}  // namespace chorus
