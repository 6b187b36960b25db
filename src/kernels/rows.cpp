#include "chorus/kernels/rows.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>

#include "chorus/base/error.h"
#include "chorus/kernels/cpu.h"

#include "kernels/rows_composed.h"

namespace chorus {

namespace {

constexpr int64_t kBytes = 64;  // of a vector of accumulators

template <class Acc>
struct VectorOf {
  using type __attribute__((vector_size(kBytes))) = Acc;
};
template <class Acc>
using Vector = typename VectorOf<Acc>::type;

/// Neighbouring elements of a row in two vectors: bf16 by even and odd places, which takes no shuffle, others
/// by halves.
template <class T>
struct Packet {
  using Acc = Accumulator<T>;
  static constexpr int64_t kSize = 2 * kBytes / static_cast<int64_t>(sizeof(Acc));
  Vector<Acc> part[2];

  CHORUS_INLINE void add(const Packet& x, Acc weight) {
    part[0] += x.part[0] * weight;
    part[1] += x.part[1] * weight;
  }
};

CHORUS_INLINE inline void load(const c10::BFloat16* from, Packet<c10::BFloat16>& to) {
  Vector<uint32_t> pairs;
  std::memcpy(&pairs, from, kBytes);
  const Vector<uint32_t> even = pairs << 16, odd = pairs & 0xFFFF0000U;
  std::memcpy(&to.part[0], &even, kBytes);
  std::memcpy(&to.part[1], &odd, kBytes);
}
template <class T>
CHORUS_INLINE inline void load(const T* from, Packet<T>& to) {
  std::memcpy(&to, from, sizeof to);
}

/// To bf16 and nearest even, the result in the high half; NaN stays NaN.
CHORUS_INLINE inline void round(const Vector<float>& x, Vector<uint32_t>& rounded) {
  Vector<uint32_t> bits;
  std::memcpy(&bits, &x, kBytes);
  rounded = x == x ? bits + 0x7FFF + ((bits >> 16) & 1) : Vector<uint32_t>{} + 0x7FC00000U;
}

CHORUS_INLINE inline void store(const Packet<c10::BFloat16>& from, c10::BFloat16* to) {
  Vector<uint32_t> even, odd;
  round(from.part[0], even);
  round(from.part[1], odd);
  const Vector<uint32_t> pairs = (even >> 16) | (odd & 0xFFFF0000U);
  std::memcpy(to, &pairs, kBytes);
}
template <class T>
CHORUS_INLINE inline void store(const Packet<T>& from, T* to) {
  std::memcpy(to, &from, sizeof from);
}

/// The first `count` of a packet, the others 0.
template <class T>
CHORUS_INLINE inline void load_some(const T* from, int64_t count, Packet<T>& to) {
  T whole[Packet<T>::kSize] = {};
  std::copy_n(from, count, whole);
  load(whole, to);
}
template <class T>
CHORUS_INLINE inline void store_some(const Packet<T>& from, int64_t count, T* to) {
  T whole[Packet<T>::kSize];
  store(from, whole);
  std::copy_n(whole, count, to);
}

int64_t grain_rows(int64_t width) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width));
}

/// out[t] = sum_j weight[t, j] rows[slot[t, j]]; a null weight is 1. Backward, `out` is the gradient by rows.
template <class T>
struct Combine {
  const T* rows;
  const int64_t* slot;
  const Accumulator<T>* weight;
  T* out;
  int64_t k, width;
};

template <class T>
CHORUS_INLINE inline void combine_token(const Combine<T>& c, int64_t token) {
  using Acc = Accumulator<T>;
  constexpr int64_t kSize = Packet<T>::kSize;
  T* const out = c.out + token * c.width;
  const int64_t first = token * c.k, last = first + c.k;
  int64_t column = 0;
  for (; column + 2 * kSize <= c.width; column += 2 * kSize) {
    Packet<T> sum[2] = {}, row;
    for (int64_t j = first; j < last; ++j) {
      if (c.slot[j] >= 0) {
        const T* const from = c.rows + c.slot[j] * c.width + column;
        for (int64_t i = 0; i < 2; ++i) {
          load(from + i * kSize, row);
          sum[i].add(row, c.weight ? c.weight[j] : Acc(1));
        }
      }
    }
    store(sum[0], out + column);
    store(sum[1], out + column + kSize);
  }
  for (; column < c.width; column += kSize) {
    const int64_t count = std::min(kSize, c.width - column);
    Packet<T> sum = {}, row;
    for (int64_t j = first; j < last; ++j) {
      if (c.slot[j] >= 0) {
        load_some(c.rows + c.slot[j] * c.width + column, count, row);
        sum.add(row, c.weight ? c.weight[j] : Acc(1));
      }
    }
    store_some(sum, count, out + column);
  }
}

template <class T>
void combine(const Combine<T>& c, int64_t tokens) {
  at::parallel_for(0, tokens, grain_rows(c.k * c.width), [&](int64_t begin, int64_t end) {
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t token = begin; token < end; ++token) {
        combine_token(c, token);
      }
    });
  });
}

/// grad = weight * grad, having added its product with row to `sum`, place by place.
template <class T>
CHORUS_INLINE inline void scale_and_multiply(Packet<T>& grad, const Packet<T>& row, Accumulator<T> weight,
                                             Packet<T>& sum) {
  for (int64_t i = 0; i < 2; ++i) {
    sum.part[i] += grad.part[i] * row.part[i];
    grad.part[i] *= weight;
  }
}

/// grad_row = weight * grad; returns the dot product of grad and row.
template <class T, class Acc = Accumulator<T>>
CHORUS_INLINE inline Acc scale_and_dot(const T* grad, const T* row, Acc weight, T* grad_row, int64_t width) {
  constexpr int64_t kSize = Packet<T>::kSize;
  Packet<T> sum = {}, g, r;
  int64_t column = 0;
  for (; column + kSize <= width; column += kSize) {
    load(grad + column, g);
    load(row + column, r);
    scale_and_multiply(g, r, weight, sum);
    store(g, grad_row + column);
  }
  if (column < width) {
    load_some(grad + column, width - column, g);
    load_some(row + column, width - column, r);
    scale_and_multiply(g, r, weight, sum);
    store_some(g, width - column, grad_row + column);
  }
  sum.part[0] += sum.part[1];
  Acc total = 0;
  for (int64_t lane = 0; lane < kSize / 2; ++lane) {
    total += sum.part[0][lane];
  }
  return total;
}

template <class T>
void combine_backward(const Combine<T>& c, const T* grad, Accumulator<T>* grad_weight, int64_t tokens) {
  at::parallel_for(0, tokens, grain_rows(c.k * c.width), [&](int64_t begin, int64_t end) {
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t choice = begin * c.k; choice < end * c.k; ++choice) {
        const int64_t slot = c.slot[choice];
        grad_weight[choice] = slot < 0 ? 0
                                       : scale_and_dot(grad + choice / c.k * c.width, c.rows + slot * c.width,
                                                       c.weight[choice], c.out + slot * c.width, c.width);
      }
    });
  });
}

at::Tensor combine_on_cpu(const at::Tensor& sorted, const at::Tensor& slot, const at::Tensor& weight) {
  const at::Tensor rows = sorted.contiguous();
  at::Tensor out = at::empty({slot.size(0), rows.size(1)}, rows.options());
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, rows.scalar_type(), "combine_rows", [&] {
    const auto* w = weight.defined() ? weight.const_data_ptr<Accumulator<scalar_t>>() : nullptr;
    const Combine<scalar_t> c = {.rows = rows.const_data_ptr<scalar_t>(),
                                 .slot = slot.const_data_ptr<int64_t>(),
                                 .weight = w,
                                 .out = out.mutable_data_ptr<scalar_t>(),
                                 .k = slot.size(1),
                                 .width = rows.size(1)};
    combine(c, slot.size(0));
  });
  return out;
}

}  // namespace

ExpertOrder sort_by_expert(const at::Tensor& kept, int64_t experts, at::Device device) {
  const at::Tensor choices = kept.contiguous();
  const int64_t count = choices.numel(), k = choices.size(1);
  const auto* expert = choices.const_data_ptr<int64_t>();
  ExpertOrder order;
  order.counts.resize(experts);
  order.offsets.resize(experts);
  for (int64_t choice = 0; choice < count; ++choice) {
    if (expert[choice] >= experts) {
      throw Error("expert {} chosen of {}: the routing is damaged", expert[choice], experts);
    }
    if (expert[choice] >= 0) {
      ++order.counts[expert[choice]];
    }
  }
  int64_t total = 0;
  for (int64_t e = 0; e < experts; ++e) {
    order.offsets[e] = total;
    total += order.counts[e];
  }
  at::Tensor slot = at::empty(choices.sizes(), at::kLong), token = at::empty({total}, at::kLong);
  auto* const slot_data = slot.mutable_data_ptr<int64_t>();
  auto* const token_data = token.mutable_data_ptr<int64_t>();
  std::vector<int64_t> next = order.offsets;
  for (int64_t choice = 0; choice < count; ++choice) {
    slot_data[choice] = expert[choice] < 0 ? -1 : next[expert[choice]]++;
    if (slot_data[choice] >= 0) {
      token_data[slot_data[choice]] = choice / k;
    }
  }
  order.slot = slot.to(device);
  order.token = token.to(device);
  return order;
}

at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& index) {
  if (!x.is_cpu()) {
    return at::index_select(x, 0, index);
  }
  const at::Tensor from = x.contiguous();
  at::Tensor out = at::empty({index.size(0), x.size(1)}, x.options());
  const auto bytes = static_cast<int64_t>(x.size(1) * x.element_size());
  const auto* const source = static_cast<const std::byte*>(from.const_data_ptr());
  const auto* const row = index.const_data_ptr<int64_t>();
  auto* const target = static_cast<std::byte*>(out.mutable_data_ptr());
  at::parallel_for(0, index.size(0), grain_rows(x.size(1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(target + i * bytes, source + row[i] * bytes, bytes);
    }
  });
  return out;
}

at::Tensor combine_rows(const at::Tensor& rows, const at::Tensor& slot, const at::Tensor& weight) {
  const at::Tensor w = weight.to(sum_type(rows)).contiguous();
  if (rows.is_cpu()) {
    return combine_on_cpu(rows, slot, w);
  }
  return combine_rows_composed(rows, slot, w);
}

std::pair<at::Tensor, at::Tensor> combine_rows_backward(const at::Tensor& grad, const at::Tensor& rows,
                                                        const at::Tensor& slot, const at::Tensor& weight) {
  const at::Tensor g = grad.contiguous(), r = rows.contiguous();
  const at::Tensor w = weight.to(sum_type(rows)).contiguous();
  if (!rows.is_cpu()) {
    return combine_rows_backward_composed(g, r, slot, w);
  }
  at::Tensor grad_rows = at::empty(rows.sizes(), r.options());
  at::Tensor grad_weight = at::empty(slot.sizes(), w.options());
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, rows.scalar_type(), "combine_rows_backward", [&] {
    using Acc = Accumulator<scalar_t>;
    const Combine<scalar_t> c = {.rows = r.const_data_ptr<scalar_t>(),
                                 .slot = slot.const_data_ptr<int64_t>(),
                                 .weight = w.const_data_ptr<Acc>(),
                                 .out = grad_rows.mutable_data_ptr<scalar_t>(),
                                 .k = slot.size(1),
                                 .width = rows.size(1)};
    combine_backward(c, g.const_data_ptr<scalar_t>(), grad_weight.mutable_data_ptr<Acc>(), slot.size(0));
  });
  return {grad_rows, grad_weight};
}

at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& slot) {
  if (rows.is_cpu()) {
    return combine_on_cpu(rows, slot, {});
  }
  return sum_rows_composed(rows, slot);
}

}  // namespace chorus
