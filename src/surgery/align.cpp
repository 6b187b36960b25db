#include "surgery/internal/align.h"

#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"

namespace chorus::inline surgery {
namespace {

/// [f, w]: what belongs to each hidden unit in one tensor of an expert.
at::Tensor by_unit(const ParameterSpec& spec, const at::Tensor& stored) {
  const at::Tensor value = stored.to(at::kFloat);
  if (spec.cut == 2) return value.t();
  // [blocks, f, ...]: swiglu's gate and value of a unit belong together.
  const at::Tensor blocks = value.unflatten(0, at::IntArrayRef({spec.cut_blocks, -1}));
  return blocks.transpose(0, 1).flatten(1);
}

}  // namespace

std::vector<int64_t> best_assignment(const at::Tensor& scores) {
  if (!at::isfinite(scores).all().item<bool>())
    throw Error("scores that are not finite have no best assignment");
  const int64_t n = scores.size(0);
  const auto* const score = scores.const_data_ptr<float>();
  constexpr double kFar = std::numeric_limits<double>::infinity();
  std::vector<double> row_price(n, 0), column_price(n, 0), distance(n);
  std::vector<int64_t> column_of(n, -1), row_of(n, -1), reached_from(n);
  std::vector<char> done(n);
  for (int64_t start = 0; start < n; ++start) {
    // Dijkstra over reduced costs, which are never negative, from a free row to a free column.
    std::fill(distance.begin(), distance.end(), kFar);
    std::fill(done.begin(), done.end(), 0);
    double least = 0;
    int64_t row = start, sink = -1;
    while (sink < 0) {
      int64_t nearest = -1;
      for (int64_t column = 0; column < n; ++column) {
        if (done[column]) continue;
        const double to = least - score[row * n + column] - row_price[row] - column_price[column];
        if (to < distance[column]) {
          distance[column] = to;
          reached_from[column] = row;
        }
        if (nearest < 0 || distance[column] < distance[nearest]) nearest = column;
      }
      least = distance[nearest];
      done[nearest] = 1;
      if (row_of[nearest] < 0) {
        sink = nearest;
      } else {
        row = row_of[nearest];
      }
    }
    row_price[start] += least;
    for (int64_t column = 0; column < n; ++column) {
      if (!done[column]) continue;
      const double slack = least - distance[column];
      column_price[column] -= slack;
      if (row_of[column] >= 0) row_price[row_of[column]] += slack;
    }
    while (true) {
      const int64_t from = reached_from[sink];
      row_of[sink] = from;
      std::swap(column_of[from], sink);
      if (from == start) break;
    }
  }
  return column_of;
}

std::vector<int64_t> align_units(const Source& source, const FeedForwardIndex& layer, int64_t expert,
                                 int64_t other) {
  at::Tensor alike;  // [f, f]
  for (const size_t p : {layer.fc1.weight, layer.fc1.bias, layer.fc2.weight}) {
    if (p == kNoParameter) continue;
    const ParameterSpec& spec = source.catalogue.parameters[p];
    const at::Tensor a = by_unit(spec, as_tensor(source.tensors[p][expert])),
                     b = by_unit(spec, as_tensor(source.tensors[p][other]));
    alike = alike.defined() ? alike.addmm_(a, b.t()) : a.mm(b.t());
  }
  if (!at::isfinite(alike).all().item<bool>()) {
    throw UserError(
        "{}: weights of experts {} and {} in {} are not finite, or too large to be compared: they cannot be "
        "merged",
        source.folder.string(), expert, other, source.catalogue.parameters[layer.fc1.weight].name);
  }
  return best_assignment(alike.contiguous());
}

}  // namespace chorus::inline surgery
