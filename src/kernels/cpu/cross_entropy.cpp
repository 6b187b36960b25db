#include "kernels/cross_entropy.h"

#include <array>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "kernels/cpu.h"

#include "kernels/internal/backend.h"
#include "kernels/internal/loss_row.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kSumLanes = 64;
template <class T>
using Lanes = std::array<T, kSumLanes>;

template <class T>
struct RowSums {
  T max;
  double sum;
};

/// Largest and sum of a row.
template <class T>
CHORUS_INLINE inline void scan(const T* x, int64_t n, RowSums<T>& out) {
  Lanes<T> most, sum = {};
  most.fill(-std::numeric_limits<T>::infinity());
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (int64_t lane = 0; lane < kSumLanes; ++lane) {
      const T value = x[i + lane];
      most[lane] = value > most[lane] ? value : most[lane];
      sum[lane] += value;
    }
  }
  out.max = -std::numeric_limits<T>::infinity();
  out.sum = 0;
  for (; i < n; ++i) {
    out.max = std::max(out.max, x[i]);
    out.sum += x[i];
  }
  for (int64_t lane = 0; lane < kSumLanes; ++lane) {
    out.max = std::max(out.max, most[lane]);
    out.sum += sum[lane];
  }
}

template <class T>
CHORUS_INLINE inline double sum_of_exponentials(const T* x, T max, int64_t n) {
  Lanes<T> lanes = {};
  int64_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes) {
    for (int64_t lane = 0; lane < kSumLanes; ++lane) {
      lanes[lane] += exponential(x[i + lane] - max);
    }
  }
  double sum = 0;
  for (; i < n; ++i) {
    sum += exponential(x[i] - max);
  }
  for (const T lane : lanes) {
    sum += lane;
  }
  return sum;
}

template <class T>
CHORUS_INLINE inline CrossEntropyPart part_of_row(const T* x, int64_t label, int64_t width) {
  RowSums<T> sums;
  scan(x, width, sums);
  return {.max = static_cast<double>(sums.max),
          .exponentials = sum_of_exponentials(x, sums.max, width),
          .sum = sums.sum,
          .label = label >= 0 && label < width ? static_cast<double>(x[label])
                                               : -std::numeric_limits<double>::infinity()};
}

template <class T, class G>
CHORUS_INLINE inline void gradient_of_row(const T* x, int64_t label, int64_t width, double partition,
                                          const LossWeights& w, G* g) {
  const auto factor = static_cast<T>(w.factor), uniform = static_cast<T>(w.uniform);
  const auto shift = static_cast<T>(partition);
  const bool here = label >= 0 && label < width;
  const T on_label = here ? x[label] : 0;  // `g` may be `x`
  for (int64_t i = 0; i < width; ++i) {
    g[i] = narrow<G>(std::fma(exponential(x[i] - shift), factor, -uniform));
  }
  if (here)
    g[label] =
        narrow<G>(std::fma(exponential(on_label - shift), factor, -uniform) - static_cast<T>(w.on_label));
}

/// row(i) for all rows, in parallel.
template <class Row>
void for_rows(int64_t count, const Row& row) {
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t i = begin; i < end; ++i) row(i);
    });
  });
}

/// f(the logits, the gradient, which is nullptr where there is none), in their types.
template <class F>
void dispatch(const at::Tensor& logits, const at::Tensor& gradient, const F& f) {
  AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "cross_entropy_rows", [&] {
    const auto* const x = logits.const_data_ptr<scalar_t>();
    if (gradient.defined() && gradient.scalar_type() == at::kBFloat16) {
      f(x, gradient.mutable_data_ptr<c10::BFloat16>());
    } else {
      f(x, gradient.defined() ? gradient.mutable_data_ptr<scalar_t>() : nullptr);
    }
  });
}

/// part_at(i, row i of the logits, its label, their width): the sums over all of row i, which has `columns`
/// columns.
template <class PartAt>
at::Tensor rows_on_cpu(const at::Tensor& logits, const at::Tensor& labels, int64_t columns,
                       const CrossEntropyOptions& options, const at::Tensor& gradient,
                       const PartAt& part_at) {
  const int64_t width = logits.size(1);
  const LossWeights weights(options, columns);
  at::Tensor rows = at::empty({logits.size(0), kCrossEntropyColumns}, at::kDouble);
  const at::Tensor label = labels.contiguous();
  const auto* const l = label.const_data_ptr<int64_t>();
  auto* const out = rows.mutable_data_ptr<double>();
  dispatch(logits, gradient, [&](const auto* x, auto* g) {
    for_rows(logits.size(0), [&](int64_t row) CHORUS_INLINE {
      const auto* const own = x + row * width;
      const double partition =
          finish_row(part_at(row, own, l[row], width), weights, out + row * kCrossEntropyColumns);
      if (g) gradient_of_row(own, l[row], width, partition, weights, g + row * width);
    });
  });
  return rows;
}

}  // namespace

at::Tensor HostBackend::cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                           const CrossEntropyOptions& options,
                                           const at::Tensor& gradient) const {
  return rows_on_cpu(logits, labels, logits.size(1), options, gradient,
                     [](int64_t, const auto* x, int64_t label, int64_t width)
                         CHORUS_INLINE { return part_of_row(x, label, width); });
}

at::Tensor HostBackend::cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels) const {
  const int64_t width = logits.size(1);
  at::Tensor parts = at::empty({logits.size(0), 4}, at::kDouble);
  const at::Tensor label = labels.contiguous();
  const auto* const l = label.const_data_ptr<int64_t>();
  auto* const out = reinterpret_cast<CrossEntropyPart*>(parts.mutable_data_ptr<double>());
  dispatch(logits, {}, [&](const auto* x, auto*) {
    for_rows(logits.size(0),
             [&](int64_t row) CHORUS_INLINE { out[row] = part_of_row(x + row * width, l[row], width); });
  });
  return parts;
}

at::Tensor HostBackend::cross_entropy_rows_of(const at::Tensor& logits, const at::Tensor& labels,
                                              const at::Tensor& parts, int64_t width,
                                              const CrossEntropyOptions& options,
                                              const at::Tensor& gradient) const {
  const auto* const part = reinterpret_cast<const CrossEntropyPart*>(parts.const_data_ptr<double>());
  return rows_on_cpu(logits, labels, width, options, gradient,
                     [part](int64_t row, const auto*, int64_t, int64_t) CHORUS_INLINE { return part[row]; });
}

}  // namespace chorus::inline kernels
