// From transformers' model folders to ours and back: the same tensors under other names, bit for bit.
//
// Tensors go from the mapped file to the new one, one at a time, so that memory does not grow with the model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "architecture/format.h"

namespace chorus::inline formats {

/// Writes `folder`, which transformers wrote (any Format; one file or shards), as a model folder of ours,
/// `out`, which must be absent, empty or a model; or a checkpoint of ours in parts (formats/parts.h), without `types`.
/// Tensors keep their types, unless `types` quantizes them. UserError in one line: a configuration that asks for what
/// we do not compute, a tensor that is missing, left over or of another shape, a vocabulary without languages or with
/// more ids than the embedding has rows.
void import_model(const std::filesystem::path& folder, const std::filesystem::path& out,
                  const QuantizationConfig& types = {});

struct ExportOptions {
  Format format = Format::nllb_moe;
  int64_t shard_size = 5'000'000'000;  // most bytes of a file, unless a single tensor is larger
};

/// Writes our model folder (or run) `folder` as transformers reads it. A model with one expert is exported to
/// m2m100 as the dense model that it is: 1 - moe.expert_output_dropout is multiplied into fc2, rounding each
/// weight once. UserError where the format cannot express the model.
void export_model(const std::filesystem::path& folder, const ExportOptions& options,
                  const std::filesystem::path& out);

}  // namespace chorus::inline formats
