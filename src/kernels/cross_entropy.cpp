#include "chorus/kernels/cross_entropy.h"

#include <array>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include "chorus/kernels/cpu.h"

#include "kernels/cross_entropy_composed.h"

namespace chorus {

namespace {

constexpr int64_t kLanes = 64;
template <class T>
using Lanes = std::array<T, kLanes>;

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
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
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
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    out.max = std::max(out.max, most[lane]);
    out.sum += sum[lane];
  }
}

template <class T>
CHORUS_INLINE inline double sum_of_exponentials(const T* x, T max, int64_t n) {
  Lanes<T> lanes = {};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
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

/// G: type of the gradient, nullptr for none.
template <class T, class G>
void rows_on_cpu(const T* logits, const int64_t* labels, int64_t width, const CrossEntropyOptions& options,
                 CrossEntropyRows& rows, G* gradient) {
  const double smoothing = options.label_smoothing, scale = options.gradient_scale;
  const auto factor = static_cast<T>(scale), on_label = static_cast<T>((1 - smoothing) * scale);
  const auto uniform = static_cast<T>(smoothing * scale / static_cast<double>(width));
  const auto count = static_cast<int64_t>(rows.nll.size());
  std::vector<char> correct(count);  // threads may not share the bytes of a vector<bool>
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t row = begin; row < end; ++row) {
        const T* const x = logits + row * width;
        const T label = x[labels[row]];
        RowSums<T> sums;
        scan(x, width, sums);
        const double partition =
            static_cast<double>(sums.max) + std::log(sum_of_exponentials(x, sums.max, width));
        rows.nll[row] = partition - label;
        rows.loss[row] =
            (1 - smoothing) * rows.nll[row] + smoothing * (partition - sums.sum / static_cast<double>(width));
        correct[row] = label >= sums.max;
        if (gradient) {
          G* const g = gradient + row * width;
          const auto shift = static_cast<T>(partition);
          for (int64_t i = 0; i < width; ++i) {
            g[i] = narrow<G>(std::fma(exponential(x[i] - shift), factor, -uniform));
          }
          g[labels[row]] = narrow<G>(std::fma(exponential(label - shift), factor, -uniform) - on_label);
        }
      }
    });
  });
  rows.correct.assign(correct.begin(), correct.end());
}

}  // namespace

CrossEntropyRows cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                    const CrossEntropyOptions& options, at::Tensor gradient) {
  if (!logits.is_cpu()) {
    return cross_entropy_rows_composed(logits, labels, options, gradient);
  }
  const int64_t count = logits.size(0), width = logits.size(1);
  CrossEntropyRows rows = {
      .nll = std::vector<double>(count), .loss = std::vector<double>(count), .correct = {}};
  const at::Tensor label = labels.contiguous();
  const auto* const l = label.const_data_ptr<int64_t>();
  AT_DISPATCH_FLOATING_TYPES(logits.scalar_type(), "cross_entropy_rows", [&] {
    const auto* const x = logits.const_data_ptr<scalar_t>();
    if (gradient.defined() && gradient.scalar_type() == at::kBFloat16) {
      rows_on_cpu(x, l, width, options, rows, gradient.mutable_data_ptr<c10::BFloat16>());
    } else {
      rows_on_cpu(x, l, width, options, rows,
                  gradient.defined() ? gradient.mutable_data_ptr<scalar_t>() : nullptr);
    }
  });
  return rows;
}

}  // namespace chorus
