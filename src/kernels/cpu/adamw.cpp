#include "kernels/adamw.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/record_function.h>

#include "kernels/cpu.h"

#include "kernels/internal/adamw_element.h"
#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kNormBlock = 1 << 13;  // elements of one partial sum of squares
constexpr int64_t kNormLanes = 32;       // elements beside each other

/// The update of some elements; `copy` takes the bf16 values unless it is null.
struct Pointers {
  float* p;
  float* m;
  float* v;
  const float* g;
  c10::BFloat16* copy;
};

template <bool kCopy>
CHORUS_INLINE inline void update(const Pointers& x, const AdamWFactors& c, int64_t begin, int64_t end) {
  const auto [p, m, v, gradient, copy] = x;
#pragma GCC ivdep  // the five do not overlap
  for (int64_t i = begin; i < end; ++i) {
    float p1 = p[i], m1 = m[i], v1 = v[i];
    advance(p1, m1, v1, gradient[i] * c.scale, c);
    m[i] = m1;
    v[i] = v1;
    p[i] = p1;
    if constexpr (kCopy) {
      copy[i] = narrow<c10::BFloat16>(p1);
    }
  }
}

/// All steps, for kNormLanes elements at a time.
template <bool kCopy>
CHORUS_INLINE inline void catch_up(const Pointers& x, std::span<const AdamWFactors> steps, int64_t begin,
                                   int64_t end) {
  for (int64_t first = begin; first < end; first += kNormLanes) {
    const int64_t count = std::min(kNormLanes, end - first);
    const size_t bytes = count * sizeof(float);
    float p[kNormLanes] = {}, m[kNormLanes] = {}, v[kNormLanes] = {};
    std::memcpy(p, x.p + first, bytes);
    std::memcpy(m, x.m + first, bytes);
    std::memcpy(v, x.v + first, bytes);
    for (const AdamWFactors& c : steps) {
      for (int64_t lane = 0; lane < kNormLanes; ++lane) {
        advance(p[lane], m[lane], v[lane], 0, c);
      }
    }
    std::memcpy(x.p + first, p, bytes);
    std::memcpy(x.m + first, m, bytes);
    std::memcpy(x.v + first, v, bytes);
    if constexpr (kCopy) {
      for (int64_t lane = 0; lane < count; ++lane) {
        x.copy[first + lane] = narrow<c10::BFloat16>(p[lane]);
      }
    }
  }
}

/// All pointers but the gradient's.
Pointers pointers_of(const AdamWTensor& t) {
  const bool copies = t.master.defined();
  return {.p = (copies ? t.master : t.value).mutable_data_ptr<float>(),
          .m = t.m.mutable_data_ptr<float>(),
          .v = t.v.mutable_data_ptr<float>(),
          .g = nullptr,
          .copy = copies ? t.value.mutable_data_ptr<c10::BFloat16>() : nullptr};
}

template <class T>
double sum_of_squares(const T* x, int64_t n) {
  const int64_t blocks = (n + kNormBlock - 1) / kNormBlock;
  std::vector<double> partial(blocks);
  at::parallel_for(0, blocks, kGrain / kNormBlock, [&](int64_t first, int64_t last) {
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t block = first; block < last; ++block) {
        const int64_t end = std::min(n, (block + 1) * kNormBlock);
        double lanes[kNormLanes] = {};
        int64_t i = block * kNormBlock;
        for (; i + kNormLanes <= end; i += kNormLanes) {
          for (int64_t lane = 0; lane < kNormLanes; ++lane) {
            const double wide = widen(x[i + lane]);
            lanes[lane] = std::fma(wide, wide, lanes[lane]);
          }
        }
        double sum = 0;
        for (; i < end; ++i) {
          const double wide = widen(x[i]);
          sum = std::fma(wide, wide, sum);
        }
        for (const double lane : lanes) {
          sum += lane;
        }
        partial[block] = sum;
      }
    });
  });
  double sum = 0;
  for (const double p : partial) {
    sum += p;
  }
  return sum;
}

}  // namespace

void HostBackend::adamw_step(std::span<AdamWTensor> tensors, const AdamWStep& step) const {
  for (AdamWTensor& tensor : tensors) {
    const std::array<c10::IValue, 1> elements = {tensor.value.numel()};
    RECORD_USER_SCOPE_WITH_INPUTS("chorus::adamw_step", elements);  // libtorch's profilers show it
    const bool copies = tensor.master.defined();
    Pointers pointers = pointers_of(tensor);
    pointers.g = tensor.gradient.const_data_ptr<float>();
    const AdamWFactors c = factors_of(step, tensor.decay);
    at::parallel_for(0, tensor.value.numel(), kGrain, [&](int64_t begin, int64_t end) {
      run_kernel([&]() CHORUS_INLINE {
        copies ? update<true>(pointers, c, begin, end) : update<false>(pointers, c, begin, end);
      });
    });
  }
}

void HostBackend::adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed) const {
  std::vector<AdamWFactors> steps;
  steps.reserve(missed.size());
  for (const AdamWStep& step : missed) {
    steps.push_back(factors_of(step, tensor.decay));
  }
  const bool copies = tensor.master.defined();
  const Pointers pointers = pointers_of(tensor);
  const auto grain = std::max<int64_t>(kNormLanes, kGrain / std::max<int64_t>(std::ssize(steps), 1));
  at::parallel_for(0, tensor.value.numel(), grain, [&](int64_t begin, int64_t end) {
    run_kernel([&]() CHORUS_INLINE {
      copies ? catch_up<true>(pointers, steps, begin, end) : catch_up<false>(pointers, steps, begin, end);
    });
  });
}

at::Tensor HostBackend::sums_of_squares(std::span<const at::Tensor> tensors) const {
  at::Tensor sums = at::empty({std::ssize(tensors)}, at::kDouble);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const std::array<c10::IValue, 1> elements = {tensors[i].numel()};
    RECORD_USER_SCOPE_WITH_INPUTS("chorus::sum_of_squares", elements);
    const at::Tensor x = tensors[i].contiguous();
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "sums_of_squares", [&] {
      sums.mutable_data_ptr<double>()[i] = sum_of_squares(x.const_data_ptr<scalar_t>(), x.numel());
    });
  }
  return sums;
}

}  // namespace chorus::inline kernels
