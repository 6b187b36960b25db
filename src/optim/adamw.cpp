#include "chorus/optim/adamw.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/linalg_vector_norm.h>

#include "chorus/base/error.h"
#include "chorus/kernels/cpu.h"

#include "optim/adamw_composed.h"

namespace chorus {

namespace {

constexpr int64_t kBlock = 1 << 13;  // elements of one partial sum of squares
constexpr int64_t kLanes = 32;

/// What a step comes to, in the type of the arithmetic.
struct Coefficients {
  float scale;         // of the gradient
  float keep1, take1;  // beta1, 1 - beta1
  float keep2, take2;
  float shrink;   // 1 - learning rate * decay
  float rate;     // learning rate / (1 - beta1^t)
  float correct;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
};

Coefficients coefficients(const AdamWStep& s, bool decay) {
  const auto t = static_cast<double>(s.step);
  return {.scale = static_cast<float>(s.gradient_scale),
          .keep1 = static_cast<float>(s.beta1),
          .take1 = static_cast<float>(1 - s.beta1),
          .keep2 = static_cast<float>(s.beta2),
          .take2 = static_cast<float>(1 - s.beta2),
          .shrink = static_cast<float>(decay ? 1 - s.learning_rate * s.weight_decay : 1.0),
          .rate = static_cast<float>(s.learning_rate / (1 - std::pow(s.beta1, t))),
          .correct = static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, t))),
          .epsilon = static_cast<float>(s.epsilon)};
}

/// The update of n elements; `copy` takes the bf16 values unless it is null.
struct Pointers {
  float* p;
  float* m;
  float* v;
  const float* g;
  c10::BFloat16* copy;
};

template <bool kCopy>
CHORUS_INLINE inline void update(const Pointers& x, const Coefficients& c, int64_t begin, int64_t end) {
  const auto [p, m, v, gradient, copy] = x;
#pragma GCC ivdep  // the five do not overlap
  for (int64_t i = begin; i < end; ++i) {
    const float g = gradient[i] * c.scale;
    const float m1 = std::fma(c.keep1, m[i], c.take1 * g);
    const float v1 = std::fma(c.keep2, v[i], c.take2 * g * g);
    const float root = std::fma(std::sqrt(v1), c.correct, c.epsilon);
    const float p1 = std::fma(-c.rate, m1 / root, p[i] * c.shrink);
    m[i] = m1;
    v[i] = v1;
    p[i] = p1;
    if constexpr (kCopy) {
      copy[i] = narrow<c10::BFloat16>(p1);
    }
  }
}

void check(const AdamWTensor& t) {
  const auto fits = [&](const at::Tensor& x) {
    return x.defined() && x.scalar_type() == at::kFloat && x.is_contiguous() &&
           x.numel() == t.value.numel() && x.device() == t.value.device();
  };
  const bool value = t.master.defined()
                         ? fits(t.master) && t.value.scalar_type() == at::kBFloat16 && t.value.is_contiguous()
                         : fits(t.value);
  if (!value || !fits(t.gradient) || !fits(t.m) || !fits(t.v)) {
    throw Error(
        "AdamW: a weight, its gradient and its state must be contiguous fp32 tensors of one size and device");
  }
}

template <class T>
double sum_of_squares(const T* x, int64_t n) {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<double> partial(blocks);
  at::parallel_for(0, blocks, kGrain / kBlock, [&](int64_t first, int64_t last) {
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t block = first; block < last; ++block) {
        const int64_t end = std::min(n, (block + 1) * kBlock);
        double lanes[kLanes] = {};
        int64_t i = block * kBlock;
        for (; i + kLanes <= end; i += kLanes) {
          for (int64_t lane = 0; lane < kLanes; ++lane) {
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

void adamw_step(AdamWTensor& tensor, const AdamWStep& step) {
  check(tensor);
  if (!tensor.value.is_cpu()) {
    adamw_step_composed(tensor, step);
    return;
  }
  const bool copies = tensor.master.defined();
  const Pointers pointers = {.p = (copies ? tensor.master : tensor.value).mutable_data_ptr<float>(),
                             .m = tensor.m.mutable_data_ptr<float>(),
                             .v = tensor.v.mutable_data_ptr<float>(),
                             .g = tensor.gradient.const_data_ptr<float>(),
                             .copy = copies ? tensor.value.mutable_data_ptr<c10::BFloat16>() : nullptr};
  const Coefficients c = coefficients(step, tensor.decay);
  at::parallel_for(0, tensor.value.numel(), kGrain, [&](int64_t begin, int64_t end) {
    run_kernel([&]() CHORUS_INLINE {
      copies ? update<true>(pointers, c, begin, end) : update<false>(pointers, c, begin, end);
    });
  });
}

double squared_norm(const at::Tensor& tensor) {
  if (!tensor.is_cpu()) {
    const auto norm = at::linalg_vector_norm(tensor, 2, std::nullopt, false, at::kDouble).item<double>();
    return norm * norm;
  }
  const at::Tensor x = tensor.contiguous();
  double sum = 0;
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "squared_norm",
                                 [&] { sum = sum_of_squares(x.const_data_ptr<scalar_t>(), x.numel()); });
  return sum;
}

}  // namespace chorus
