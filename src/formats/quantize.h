// Weights that become int8 or int4 (kernels/quantized.h) on their way from one model folder to another.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>

#include "formats/stored_tensors.h"
#include "layout/catalogue.h"

namespace chorus::inline formats {

/// Of each quantized tensor, by its name in the file: the root of the sum of squares of what it is off, over that of
/// the tensor itself.
using QuantizationErrors = std::map<std::string, double>;

/// How much each column of a weight counts when scales are chosen, as quantize() takes it; undefined: all alike.
using ColumnImportance = std::function<at::Tensor(size_t parameter, size_t slice)>;

/// UserError when `config` names types for weights, and none of the model's gets one.
void check_quantization(const ModelConfig& config, const Catalogue& catalogue);

/// All stored tensors of a model in floating types, as catalogue `from` has them, become those of `to`, which differs
/// in what is quantized. Memory holds no more than the tensor whose turn it is. `errors` is filled as they are written,
/// and must live as long as what is returned; so must the catalogues.
std::vector<Transfer> quantized(std::vector<Transfer> transfers, const Catalogue& from, const Catalogue& to,
                                QuantizationErrors& errors, const ColumnImportance& importance = {});

/// Notes the errors in a folder that is being written, or reads them: none where nothing is noted. UserError on a file
/// that is damaged.
void write_quantization_errors(const std::filesystem::path& folder, const QuantizationErrors& errors);
QuantizationErrors read_quantization_errors(const std::filesystem::path& folder);

}  // namespace chorus::inline formats
