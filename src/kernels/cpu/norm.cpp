#include "kernels/norm.h"

#include <algorithm>
#include <cmath>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "kernels/cpu.h"

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kSideBySide = 32;  // sums of a row
// Rows whose gradients w.r.t. weight and bias are one sum, whatever the threads.
constexpr int64_t kRowsOfSum = 128;

/// The sum of f(i) for i = 0 .. n - 1, in the same order with every instruction set.
template <class A>
CHORUS_INLINE inline A sum_over(int64_t n, const auto& f) {
  A sums[kSideBySide] = {};
  int64_t i = 0;
  for (; i + kSideBySide <= n; i += kSideBySide) {
    for (int64_t j = 0; j < kSideBySide; ++j) sums[j] += f(i + j);
  }
  A sum = 0;
  for (; i < n; ++i) sum += f(i);
  for (const A x : sums) sum += x;
  return sum;
}

/// Of one row, T being the rows' type and A that of sums. `mean` is 0 without a bias.
template <class T, class A>
struct RowOfNorm {
  const T *x, *weight;
  int64_t width;
  A mean, scale;
  [[nodiscard]] CHORUS_INLINE A normal(int64_t i) const { return (widen(x[i]) - mean) * scale; }
};

template <class T, class A>
CHORUS_INLINE inline RowOfNorm<T, A> measure_row(const T* x, const T* weight, int64_t width, double epsilon,
                                                 bool centred) {
  const auto count = static_cast<A>(width);
  const A mean =
      centred ? sum_over<A>(width, [x](int64_t i) CHORUS_INLINE { return A{widen(x[i])}; }) / count : A{0};
  const A squares = sum_over<A>(width, [x, mean](int64_t i) CHORUS_INLINE {
    const A difference = widen(x[i]) - mean;
    return difference * difference;
  });
  return {x, weight, width, mean, 1 / std::sqrt(squares / count + static_cast<A>(epsilon))};
}

template <class T, class A>
CHORUS_INLINE inline void write_row(const RowOfNorm<T, A>& row, const T* bias, T* out) {
  if (bias) {
    for (int64_t i = 0; i < row.width; ++i)
      out[i] = narrow<T>(std::fma(row.normal(i), A{widen(row.weight[i])}, A{widen(bias[i])}));
  } else {
    for (int64_t i = 0; i < row.width; ++i)
      out[i] = narrow<T>(A{widen(narrow<T>(row.normal(i)))} * A{widen(row.weight[i])});
  }
}

/// Sets out to the gradient w.r.t. the row, given that w.r.t. its output (g). Adds to the gradients w.r.t. weight
/// and, unless null, bias. With n the normal row and h = g * weight: scale * (h - mean(h) - n mean(h n)), without
/// mean(h) where there is no bias.
template <class T, class A>
CHORUS_INLINE inline void backward_of_row(const RowOfNorm<T, A>& own, const T* g, A* by_weight, A* by_bias,
                                          T* out) {
  const RowOfNorm<T, A> row = own;  // stores leave it alone, for all that the compiler knows
  const auto count = static_cast<A>(row.width);
  const auto h = [row, g](int64_t i) CHORUS_INLINE { return A{widen(g[i])} * A{widen(row.weight[i])}; };
  const A mean = by_bias ? sum_over<A>(row.width, h) / count : A{0};
  const A along =
      sum_over<A>(row.width, [row, h](int64_t i) CHORUS_INLINE { return h(i) * row.normal(i); }) / count;
  for (int64_t i = 0; i < row.width; ++i)
    by_weight[i] = std::fma(A{widen(g[i])}, row.normal(i), by_weight[i]);
  if (by_bias)
    for (int64_t i = 0; i < row.width; ++i) by_bias[i] += A{widen(g[i])};
  for (int64_t i = 0; i < row.width; ++i)
    out[i] = narrow<T>(row.scale * (h(i) - mean - row.normal(i) * along));
}

/// f(T(), A()) for the type of the rows and that of their sums.
void with_types(const at::Tensor& rows, const auto& f) {
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, rows.scalar_type(), "norm_rows",
                                 [&] { f(scalar_t(), Accumulator<scalar_t>()); });
}

}  // namespace

NormedRows HostBackend::norm_rows(const at::Tensor& rows, const NormScaling& s) const {
  const int64_t count = rows.size(0), width = rows.size(1);
  const bool centred = s.bias.defined();
  const auto options = rows.options().dtype(sum_type(rows));
  NormedRows normed = {at::empty_like(rows), centred ? at::empty({count}, options) : at::Tensor(),
                       at::empty({count}, options)};
  with_types(rows, [&]<class T, class A>(T, A) {
    const T* const x = rows.const_data_ptr<T>();
    const T* const weight = s.weight.const_data_ptr<T>();
    const T* const bias = centred ? s.bias.const_data_ptr<T>() : nullptr;
    T* const out = normed.output.mutable_data_ptr<T>();
    A* const mean = centred ? normed.mean.mutable_data_ptr<A>() : nullptr;
    A* const scale = normed.scale.mutable_data_ptr<A>();
    at::parallel_for(0, count, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width)),
                     [&](int64_t begin, int64_t end) {
                       run_kernel([&]() CHORUS_INLINE {
                         for (int64_t i = begin; i < end; ++i) {
                           const auto row =
                               measure_row<T, A>(x + i * width, weight, width, s.epsilon, centred);
                           write_row(row, bias, out + i * width);
                           if (mean) mean[i] = row.mean;
                           scale[i] = row.scale;
                         }
                       });
                     });
  });
  return normed;
}

NormGradients HostBackend::norm_rows_backward(const at::Tensor& grad, const at::Tensor& rows,
                                              const NormedRows& normed, const NormScaling& s) const {
  const int64_t count = rows.size(0), width = rows.size(1), blocks = (count + kRowsOfSum - 1) / kRowsOfSum;
  const bool centred = s.bias.defined();
  const auto options = rows.options().dtype(sum_type(rows));
  const at::Tensor by_rows = at::empty_like(rows), by_weight = at::zeros({blocks, width}, options),
                   by_bias = centred ? at::zeros({blocks, width}, options) : at::Tensor();
  with_types(rows, [&]<class T, class A>(T, A) {
    const T* const x = rows.const_data_ptr<T>();
    const T* const g = grad.const_data_ptr<T>();
    const T* const weight = s.weight.const_data_ptr<T>();
    const A* const mean = centred ? normed.mean.const_data_ptr<A>() : nullptr;
    const A* const scale = normed.scale.const_data_ptr<A>();
    T* const out = by_rows.mutable_data_ptr<T>();
    A* const weight_sums = by_weight.mutable_data_ptr<A>();
    A* const bias_sums = centred ? by_bias.mutable_data_ptr<A>() : nullptr;
    at::parallel_for(0, blocks, 1, [&](int64_t begin, int64_t end) {
      run_kernel([&]() CHORUS_INLINE {
        for (int64_t i = begin * kRowsOfSum; i < std::min(count, end * kRowsOfSum); ++i) {
          const int64_t sums = i / kRowsOfSum * width;
          backward_of_row<T, A>({x + i * width, weight, width, mean ? mean[i] : A{0}, scale[i]},
                                g + i * width, weight_sums + sums, bias_sums ? bias_sums + sums : nullptr,
                                out + i * width);
        }
      });
    });
  });
  return {by_rows, by_weight.sum(0), centred ? by_bias.sum(0) : at::Tensor()};
}

}  // namespace chorus::inline kernels
