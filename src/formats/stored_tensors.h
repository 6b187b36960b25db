// The tensors of a file or model folder, found and checked by catalogue.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "io/safetensors.h"
#include "io/torch_file.h"
#include "layout/catalogue.h"

namespace chorus::inline formats {

std::optional<at::ScalarType> scalar_type(DType dtype);  // of floating types, and of uint8
/// "float32", as torch and config.json call it. Error on what is not a floating type.
std::string torch_name(DType dtype);

/// Returns a parameter's i-th stored tensor in a file where weights have this type, unless they are quantized.
TensorSpec file_tensor(const ParameterSpec& spec, size_t i, DType dtype);
/// Returns the part of a parameter that its i-th stored tensor holds.
at::Tensor slice(const ParameterSpec& spec, const at::Tensor& whole, size_t i);
/// Convert a stored tensor to such a part, and back: they differ in the order of rows, and a quantized one becomes
/// fp32.
at::Tensor from_stored(const ParameterSpec& spec, const at::Tensor& stored);
at::Tensor to_stored(const ParameterSpec& spec, const at::Tensor& part);
std::span<const std::byte> bytes_of(const at::Tensor& tensor);
/// Returns a tensor over the bytes of a file, with its strides, only to be read from; a copy of them where they are
/// not aligned.
at::Tensor as_tensor(const TensorView& view);

/// What a file of the catalogue's tensors holds under a prefix, after what `tensors` lists already.
void add_specs(const Catalogue& catalogue, const std::string& prefix, DType dtype,
               std::vector<TensorSpec>& tensors);

/// Where each parameter's stored tensors lie: [parameter][slice].
using StoredTensors = std::vector<std::vector<TensorView>>;

/// Finds the tensors of each prefix; after a look at every checksum, if there are any. What may be missing or left
/// over, and the errors: load_tensors().
std::vector<StoredTensors> find_tensors(const SafetensorsFile& file, const Catalogue& catalogue,
                                        std::span<const std::string> prefixes);
std::vector<StoredTensors> find_tensors_unverified(const SafetensorsFile& file, const Catalogue& catalogue,
                                                   std::span<const std::string> prefixes);
/// Does the same for a folder. What lies in tensors that are to be left `unread` is not looked at.
std::vector<StoredTensors> find_tensors(const SafetensorsFolder& folder, const Catalogue& catalogue,
                                        std::span<const std::string> prefixes,
                                        const TensorFilter& unread = {});
std::vector<StoredTensors> find_tensors(const TorchFolder& folder, const Catalogue& catalogue,
                                        std::span<const std::string> prefixes);

/// Throws UserError naming the tensor that holds a number which is not finite, or larger than any weight: files of
/// other programs carry no checksums.
void check_values(const StoredTensors& stored, const Catalogue& catalogue, const std::string& where);

/// A stored tensor on its way to another file: the bytes of one that is mapped, or what `make` makes of it
/// when its turn comes, in one piece or more (CPU, of any floating type).
struct Transfer {
  TensorSpec tensor;  // as it is called, and its type, where it goes
  TensorView from;
  int64_t pieces = 1;
  std::function<at::Tensor(int64_t piece)> make = {};
};
/// Writes a file of them, one after the other: memory holds no more than the piece whose turn it is.
void write_tensors(const std::filesystem::path& path, std::span<const Transfer> transfers);

/// Bounds the catalogue made from a configuration, which may be anything, by the number of tensors. UserError naming
/// `path`.
void check_tensor_count(const ModelConfig& config, size_t tensors, const std::filesystem::path& path);

}  // namespace chorus::inline formats
