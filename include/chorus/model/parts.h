// The tensors of a catalogue in files that many ranks write and read together, each what it holds. The file
// is the one that save_tensors() writes, byte for byte, whatever rank held what.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/base/safetensors.h"
#include "chorus/comm/group.h"
#include "chorus/model/buckets.h"
#include "chorus/model/catalogue.h"

namespace chorus {

/// Consecutive elements of what a rank holds of one parameter.
struct TensorPart {
  size_t parameter = 0;
  LocalPart local;
  int64_t first = 0;  // in what is held
  at::Tensor data;    // flat, of a floating type
};

/// Parts of one value for each parameter: its weights, or a moment. Stored tensors carry the prefix before
/// their names.
struct PartSet {
  std::string prefix;
  std::vector<TensorPart> parts;
};

/// Called by all ranks of the group: writes fp32, each rank its parts, which must make up every parameter
/// once. The file is not renamed into place: write it into a folder that is still unknown. Errors as
/// SharedFile.
void save_parts(Group& group, const std::filesystem::path& path, const Catalogue& catalogue,
                std::span<const PartSet> sets);

/// Fills the parts, checking names and shapes as load_tensors() does, but no checksums: see
/// SafetensorsFile::verify.
void load_parts(const SafetensorsFile& file, const Catalogue& catalogue, std::span<const PartSet> sets);

}  // namespace chorus
