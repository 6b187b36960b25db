#include "formats/stored_tensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <set>

#include <ATen/ops/as_strided.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/roll.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/text.h"
#include "io/json.h"

#include "formats/internal/manifest.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kBody = "model.";  // what transformers puts before all but the output layer

constexpr std::array<std::pair<DType, at::ScalarType>, 5> kTypes = {{{DType::u8, at::kByte},
                                                                     {DType::f32, at::kFloat},
                                                                     {DType::bf16, at::kBFloat16},
                                                                     {DType::f16, at::kHalf},
                                                                     {DType::f64, at::kDouble}}};

bool equal(const TensorView& a, const TensorView& b) {
  if (a.dtype != b.dtype || a.shape != b.shape) return false;
  if (a.bytes.data() == b.bytes.data() && a.strides == b.strides) return true;
  if (a.strides.empty() && b.strides.empty()) return std::ranges::equal(a.bytes, b.bytes);
  return scalar_type(a.dtype) && at::equal(as_tensor(a), as_tensor(b));
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
  return name.starts_with("encoder.embed_positions.weight") ||
         name.starts_with("decoder.embed_positions.weight");
}

Matrix as_matrix(const ParameterSpec& spec, const TensorView& view) {
  const std::vector<int64_t> shape = spec.stored_shape();
  return {as_tensor(view), spec.quantization, shape[0], shape[1]};
}

/// Where each stored tensor of the sets lies in a file or folder.
template <class File>
class Resolver {
 public:
  Resolver(const File& file, std::string where, const Catalogue& catalogue, const TensorFilter& unread)
      : file_(file), where_(std::move(where)), catalogue_(catalogue), names_(file.names()), unread_(unread) {}

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

  /// Throws UserError when a tensor is left over; called after the last set.
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
    if (view.shape != spec.file_shape()) {
      throw UserError("{}: tensor {} has shape [{}], not the [{}] of the model that config.json describes",
                      where_, in_quotes(name), fmt::join(view.shape, ", "),
                      fmt::join(spec.file_shape(), ", "));
    }
    const bool quantized = spec.quantization != Quantization::none;
    if (quantized ? view.dtype != DType::u8 : view.dtype == DType::u8 || !scalar_type(view.dtype))
      throw UserError("{}: tensor {} is of type {}, not of {}", where_, in_quotes(name), name_of(view.dtype),
                      quantized ? "U8, as a quantized one" : "a floating type");
    if (quantized && !(unread_ && unread_(name)) && !has_finite_scales(as_matrix(spec, view)))
      throw UserError("{}: tensor {} has scales that are not finite: damaged", where_, in_quotes(name));
  }

  const File& file_;
  std::string where_;
  const Catalogue& catalogue_;
  std::vector<std::string> names_;
  const TensorFilter& unread_;
  std::set<std::string, std::less<>> used_;
};

template <class File>
std::vector<StoredTensors> find(const File& file, std::string where, const Catalogue& catalogue,
                                std::span<const std::string> prefixes, const TensorFilter& unread = {}) {
  Resolver<File> resolver(file, std::move(where), catalogue, unread);
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

TensorSpec file_tensor(const ParameterSpec& spec, size_t i, DType dtype) {
  return {spec.stored[i], spec.quantization == Quantization::none ? dtype : DType::u8, spec.file_shape()};
}

at::Tensor slice(const ParameterSpec& spec, const at::Tensor& whole, size_t i) {
  return spec.sliced ? whole.select(0, static_cast<int64_t>(i)) : whole;
}

at::Tensor from_stored(const ParameterSpec& spec, const at::Tensor& stored) {
  if (spec.quantization != Quantization::none) {
    const std::vector<int64_t> shape = spec.stored_shape();
    return dequantize({stored, spec.quantization, shape[0], shape[1]});
  }
  return spec.row_shift == 0 ? stored : at::roll(stored, spec.row_shift, spec.cut);
}

at::Tensor to_stored(const ParameterSpec& spec, const at::Tensor& part) {
  return spec.row_shift == 0 ? part : at::roll(part, -spec.row_shift, spec.cut);
}

std::span<const std::byte> bytes_of(const at::Tensor& tensor) {
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

at::Tensor as_tensor(const TensorView& view) {
  const at::ScalarType type = *scalar_type(view.dtype);
  const auto address = reinterpret_cast<uintptr_t>(view.bytes.data());
  const auto elements = static_cast<int64_t>(view.bytes.size() / size_of(view.dtype));
  at::Tensor flat;
  if (address % size_of(view.dtype) == 0 && !view.bytes.empty()) {
    flat = at::from_blob(const_cast<std::byte*>(view.bytes.data()), {elements}, type);  // only read from
  } else {
    flat = at::empty({elements}, type);
    if (!view.bytes.empty()) std::memcpy(flat.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  }
  return view.strides.empty() ? flat.view(view.shape) : flat.as_strided(view.shape, view.strides);
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
                                        std::span<const std::string> prefixes, const TensorFilter& unread) {
  check_manifest(folder);
  static_cast<void>(folder.verify(unread));
  const fs::path& first = folder.files().front().path();
  const fs::path& where = folder.files().size() == 1 ? first : first.parent_path();
  return find(folder, where.string(), catalogue, prefixes, unread);
}

std::vector<StoredTensors> find_tensors(const TorchFolder& folder, const Catalogue& catalogue,
                                        std::span<const std::string> prefixes) {
  const fs::path& first = folder.files().front().path();
  const fs::path& where = folder.files().size() == 1 ? first : first.parent_path();
  return find(folder, where.string(), catalogue, prefixes);
}

namespace {

constexpr int kLargestPower = 20;  // no model that works has weights beyond 2^20

struct FloatBits {
  int mantissa, exponent, bias;
};

/// Returns the largest exponent field of the numbers.
template <class Word>
int largest_exponent(std::span<const std::byte> bytes, FloatBits bits) {
  const auto mask = static_cast<Word>((Word{1} << bits.exponent) - 1);
  Word largest = 0;
  for (size_t at = 0; at + sizeof(Word) <= bytes.size(); at += sizeof(Word)) {
    Word word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    largest = std::max(largest, static_cast<Word>((word >> bits.mantissa) & mask));
  }
  return static_cast<int>(largest);
}

void check_values(const TensorView& view, const std::string& name, const std::string& where) {
  if (!view.strides.empty()) {
    const at::Tensor whole = as_tensor(view).contiguous();
    check_values({view.dtype, view.shape, bytes_of(whole)}, name, where);
    return;
  }
  FloatBits bits = {.mantissa = 23, .exponent = 8, .bias = 127};
  int largest = 0;
  switch (view.dtype) {
    case DType::f64:
      bits = {.mantissa = 52, .exponent = 11, .bias = 1023};
      largest = largest_exponent<uint64_t>(view.bytes, bits);
      break;
    case DType::f32:
      largest = largest_exponent<uint32_t>(view.bytes, bits);
      break;
    case DType::bf16:
      bits.mantissa = 7;
      largest = largest_exponent<uint16_t>(view.bytes, bits);
      break;
    default:
      bits = {.mantissa = 10, .exponent = 5, .bias = 15};
      largest = largest_exponent<uint16_t>(view.bytes, bits);
  }
  if (largest == (1 << bits.exponent) - 1)
    throw UserError("{}: tensor {} holds numbers that are not finite: damaged, or of a training that failed",
                    where, in_quotes(name));
  if (largest - bits.bias >= kLargestPower)
    throw UserError("{}: tensor {} holds numbers of 2^{} and more, as no model has: damaged", where,
                    in_quotes(name), largest - bits.bias);
}

}  // namespace

void check_values(const StoredTensors& stored, const Catalogue& catalogue, const std::string& where) {
  for (size_t p = 0; p < stored.size(); ++p)
    for (size_t i = 0; i < stored[p].size(); ++i)
      check_values(stored[p][i], catalogue.parameters[p].stored[i], where);
}

void write_tensors(const fs::path& path, std::span<const Transfer> transfers) {
  std::vector<TensorSpec> tensors;
  tensors.reserve(transfers.size());
  for (const Transfer& transfer : transfers) tensors.push_back(transfer.tensor);
  SafetensorsWriter writer(path, tensors);
  for (const Transfer& transfer : transfers) {
    if (!transfer.make && transfer.from.strides.empty()) {
      writer.write(transfer.tensor.name, transfer.from.bytes);
    } else if (!transfer.make) {
      writer.write(transfer.tensor.name, bytes_of(as_tensor(transfer.from).contiguous()));
    }
    for (int64_t piece = 0; transfer.make && piece < transfer.pieces; ++piece) {
      const at::Tensor value = transfer.make(piece).to(*scalar_type(transfer.tensor.dtype)).contiguous();
      writer.write(transfer.tensor.name, bytes_of(value));
    }
  }
  writer.commit();
}

void check_tensor_count(const ModelConfig& config, size_t tensors, const fs::path& path) {
  const std::vector<int64_t> experts = config.expert_counts();
  if (std::cmp_greater(std::accumulate(experts.begin(), experts.end(), int64_t{0}), tensors)) {
    throw UserError("{}: config.json describes {} of {}, but the weights are {}", path.string(),
                    counted(experts.size(), "layer"), counted(config.moe.experts, "expert"),
                    counted(tensors, "tensor"));
  }
}

}  // namespace chorus::inline formats
