#include "formats/quantize.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "formats/folder_files.h"
#include "io/json.h"
#include "io/places.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kErrorsVersion = 1;
constexpr int64_t kPieceRows = 256 * kQuantizedRows;

struct SquareSums {
  double error = 0, weight = 0;
};

/// Rows `first` .. `first + count` of a parameter's stored tensor, as we order them.
at::Tensor rows_of(const Transfer& transfer, const ParameterSpec& spec, int64_t first, int64_t count) {
  const std::vector<int64_t> shape = spec.stored_shape();
  at::Tensor stored;
  if (transfer.make) {
    std::vector<at::Tensor> pieces;
    for (int64_t piece = 0; piece < transfer.pieces; ++piece)
      pieces.push_back(transfer.make(piece).to(at::kFloat).reshape(-1));
    stored = at::cat(pieces).view(shape);
  } else {
    stored = as_tensor(transfer.from);
  }
  if (spec.row_shift == 0) return stored.narrow(0, first, count);
  return stored.index_select(
      0, (at::arange(first, first + count, at::kLong) + shape[0] - spec.row_shift) % shape[0]);
}

}  // namespace

void check_quantization(const ModelConfig& config, const Catalogue& catalogue) {
  const auto is_quantized = [](const ParameterSpec& spec) { return spec.quantization != Quantization::none; };
  if (config.quantization.any() && std::ranges::none_of(catalogue.parameters, is_quantized))
    throw UserError(
        "no weight of the model would be quantized: it has none of those that a type is given for");
}

std::vector<Transfer> quantized(std::vector<Transfer> transfers, const Catalogue& from, const Catalogue& to,
                                QuantizationErrors& errors, const ColumnImportance& importance) {
  size_t next = 0;
  for (size_t p = 0; p < to.parameters.size(); ++p) {
    const ParameterSpec &before = from.parameters[p], &spec = to.parameters[p];
    for (size_t i = 0; i < spec.stored.size(); ++i, ++next) {
      if (spec.quantization == Quantization::none) continue;
      const int64_t rows = spec.stored_shape()[0];
      Transfer& transfer = transfers[next];
      const Transfer source = transfer;
      transfer.tensor = file_tensor(spec, i, source.tensor.dtype);
      transfer.pieces = source.make ? 1 : (rows + kPieceRows - 1) / kPieceRows;
      const int64_t at_once = source.make ? rows : kPieceRows;
      transfer.make = [&before, &spec, &errors, i, p, rows, at_once, importance, source,
                       pieces = transfer.pieces, sums = std::make_shared<SquareSums>()](int64_t piece) {
        const int64_t first = piece * at_once, count = std::min(at_once, rows - first);
        const at::Tensor weight = rows_of(source, before, first, count).to(at::kFloat);
        at::Tensor blocks = quantize(weight, spec.quantization, importance ? importance(p, i) : at::Tensor());
        const at::Tensor back = dequantize({blocks, spec.quantization, count, weight.size(1)});
        sums->error += (back - weight).square().sum(at::kDouble).item<double>();
        sums->weight += weight.square().sum(at::kDouble).item<double>();
        if (piece + 1 == pieces)
          errors[spec.stored[i]] = sums->weight > 0 ? std::sqrt(sums->error / sums->weight) : 0;
        return blocks;
      };
    }
  }
  return transfers;
}

void write_quantization_errors(const fs::path& folder, const QuantizationErrors& errors) {
  write_json(folder / kQuantizationFile, {{"format", kErrorsVersion}, {"relative_errors", errors}});
}

QuantizationErrors read_quantization_errors(const fs::path& folder) {
  const fs::path path = folder / kQuantizationFile;
  if (!is_there(path)) return {};
  const nlohmann::json json = read_json(path);
  if (json.is_object() && json.value("format", nlohmann::json()) != kErrorsVersion)
    throw UserError("{}: written by a later version of chorus, or damaged; delete it to do without",
                    path.string());
  const auto found = json.is_object() ? json.find("relative_errors") : json.end();
  if (found == json.end() || !found->is_object())
    throw UserError("{}: damaged: it has no errors; delete it to do without", path.string());
  QuantizationErrors errors;
  for (const auto& [name, error] : found->items()) {
    const std::optional<double> value = exactly<double>(error);
    if (!value || !(*value >= 0))
      throw UserError("{}: damaged: the error of {}; delete it to do without", path.string(),
                      in_quotes(name));
    errors[name] = *value;
  }
  return errors;
}

}  // namespace chorus::inline formats
