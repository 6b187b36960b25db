// Tensors that lie in slices in many files: formats/parts.h, RankPartsWriter.
#pragma once

#include <deque>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "io/safetensors.h"

namespace chorus::inline formats {

/// Of a stored tensor.
struct Slice {
  int64_t first = 0;
  at::Tensor values;  // flat, of the mapped file
};
using Slices = std::vector<Slice>;  // from the tensor's first element to its last, without gap or overlap

/// Copies elements from `from` on.
void copy_slices(const Slices& slices, int64_t from, const at::Tensor& to);

class PartSlices {
 public:
  /// Opens all of a folder's files. UserError naming one that is none of them.
  explicit PartSlices(const std::filesystem::path& folder);
  /// Returns the slices of a stored tensor, which live as long as this. UserError where they do not make up so many
  /// elements.
  [[nodiscard]] Slices of(const std::string& name, int64_t elements) const;

 private:
  std::filesystem::path folder_;
  std::deque<SafetensorsFile> files_;
  std::map<std::string, Slices> slices_;  // by their tensors' names
};

}  // namespace chorus::inline formats
