#include "kernels/parameter.h"

#include <utility>

#include "kernels/gemm.h"

namespace chorus::inline kernels {

void Parameter::accumulate(const at::Tensor& contribution) {
  if (has_gradient) {
    gradient.add_(contribution);
  } else {
    gradient.copy_(contribution);
    has_gradient = true;
  }
}

void Parameter::accumulate_product(const at::Tensor& a, const at::Tensor& b) {
  add_product(gradient.view({a.size(1), b.size(1)}), a, b, !has_gradient);
  has_gradient = true;
}

void Parameter::set_quantized(at::Tensor blocks, Quantization type, int64_t row_count, int64_t columns) {
  value = std::move(blocks);
  quantization = type;
  rows = row_count;
  depth = columns;
}

void Parameter::set_pieces(size_t count, Quantization type, int64_t row_count, int64_t columns) {
  set_quantized({}, type, row_count, columns);
  pieces.resize(count);
}

void Parameter::observe(const at::Tensor& input, int64_t slice) const {
  if (input_squares.defined()) input_squares[slice].add_(input.square().sum(0, false, at::kDouble));
}

Matrix Parameter::matrix() const {
  if (quantization == Quantization::none) return value;
  const int64_t slices = value.dim() == 3 ? value.size(0) : 1;
  return {value.view({-1, value.size(-1)}), quantization, slices * rows, depth};
}

Matrix Parameter::matrix(int64_t i) const {
  const at::Tensor slice = pieces.empty() ? value[i] : pieces[i];
  if (quantization == Quantization::none) return slice;
  return {slice, quantization, rows, depth};
}

bool Parameter::begin_slices() {
  const bool overwrite = !has_gradient;
  has_gradient = true;
  return overwrite;
}

}  // namespace chorus::inline kernels
