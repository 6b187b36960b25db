#include "kernels/rows.h"

#include <numeric>
#include <span>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "base/error.h"
#include "kernels/cpu.h"

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kBlock = 256;  // elements whose sums are held at once

int64_t grain_rows(int64_t width) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, width));
}

/// out[t] = sum_j weight[t, j] rows[slot[t, j]]; a null weight is 1.
template <class T>
struct Combine {
  const T* rows;
  const int64_t* slot;
  const Accumulator<T>* weight;
  T* out;
  int64_t k, width;
  const T* elsewhere = nullptr;  // rows [first, end)
  int64_t first = 0, end = 0;

  [[nodiscard]] const T* row(int64_t i) const {
    return i >= first && i < end ? elsewhere + (i - first) * width : rows + i * width;
  }
};

/// Combines elements [column, column + count) of one token, count at most kBlock.
template <class T>
CHORUS_INLINE inline void combine_block(const Combine<T>& c, int64_t token, int64_t column, int64_t count) {
  using Acc = Accumulator<T>;
  T* const out = c.out + token * c.width + column;
  Acc block[kBlock];
  Acc* sum = block;
  if constexpr (std::is_same_v<T, Acc>) sum = out;
  bool empty = true;
  for (int64_t j = token * c.k; j < (token + 1) * c.k; ++j) {
    if (c.slot[j] < 0) continue;
    const T* const row = c.row(c.slot[j]) + column;
    const Acc weight = c.weight ? c.weight[j] : Acc(1);
    if (empty) {
      for (int64_t i = 0; i < count; ++i) sum[i] = weight * widen(row[i]);
    } else {
      for (int64_t i = 0; i < count; ++i) sum[i] += weight * widen(row[i]);
    }
    empty = false;
  }
  if (empty) std::fill_n(sum, count, Acc(0));
  if constexpr (!std::is_same_v<T, Acc>) {
    for (int64_t i = 0; i < count; ++i) out[i] = narrow<T>(sum[i]);
  }
}

template <class T>
void combine(const Combine<T>& c, int64_t tokens) {
  at::parallel_for(0, tokens, grain_rows(c.k * c.width), [&](int64_t begin, int64_t end) {
    run_kernel([&]() CHORUS_INLINE {
      for (int64_t token = begin; token < end; ++token) {
        for (int64_t column = 0; column < c.width; column += kBlock)
          combine_block(c, token, column, std::min(kBlock, c.width - column));
      }
    });
  });
}

at::Tensor combine_on_cpu(const at::Tensor& sorted, const at::Tensor& slot, const at::Tensor& weight,
                          const RowsElsewhere& elsewhere) {
  const int64_t rows_elsewhere = elsewhere.rows.defined() ? elsewhere.rows.size(0) : 0;
  const at::Tensor rows = sorted.contiguous();
  at::Tensor out = at::empty({slot.size(0), rows.size(1)}, rows.options());
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, rows.scalar_type(), "combine_rows", [&] {
    const auto* w = weight.defined() ? weight.const_data_ptr<Accumulator<scalar_t>>() : nullptr;
    const Combine<scalar_t> c = {
        .rows = rows.const_data_ptr<scalar_t>(),
        .slot = slot.const_data_ptr<int64_t>(),
        .weight = w,
        .out = out.mutable_data_ptr<scalar_t>(),
        .k = slot.size(1),
        .width = rows.size(1),
        .elsewhere = rows_elsewhere > 0 ? elsewhere.rows.const_data_ptr<scalar_t>() : nullptr,
        .first = elsewhere.first,
        .end = elsewhere.first + rows_elsewhere};
    combine(c, slot.size(0));
  });
  return out;
}

}  // namespace

ExpertRows rows_of_experts(const ExpertOrder& order) {
  const at::Tensor on_host = order.ends.to(at::kCPU);
  const std::span ends(on_host.const_data_ptr<int32_t>(), on_host.numel());
  ExpertRows rows;
  int64_t first = 0;
  for (const int64_t end : ends) {
    rows.offsets.push_back(first);
    rows.counts.push_back(end - first);
    first = end;
  }
  return rows;
}

ExpertOrder HostBackend::sort_by_expert(const at::Tensor& kept, int64_t experts, int64_t /*most*/) const {
  const at::Tensor choices = kept.contiguous();
  const int64_t count = choices.numel(), k = choices.size(1);
  const auto* expert = choices.const_data_ptr<int64_t>();
  std::vector<int64_t> next(experts + 1);  // first, how many rows the expert before has
  for (int64_t choice = 0; choice < count; ++choice) {
    if (expert[choice] >= experts)
      throw Error("expert {} chosen of {}: the routing is damaged", expert[choice], experts);
    if (expert[choice] >= 0) ++next[expert[choice] + 1];
  }
  std::partial_sum(next.begin(), next.end(), next.begin());
  ExpertOrder order = {.ends = at::empty({experts}, at::kInt),
                       .slot = at::empty(choices.sizes(), at::kLong),
                       .token = at::empty({next.back()}, at::kLong),
                       .choice = at::empty({next.back()}, at::kLong)};
  std::copy(next.begin() + 1, next.end(), order.ends.mutable_data_ptr<int32_t>());
  auto* const slot = order.slot.mutable_data_ptr<int64_t>();
  auto* const token = order.token.mutable_data_ptr<int64_t>();
  auto* const which = order.choice.mutable_data_ptr<int64_t>();
  for (int64_t choice = 0; choice < count; ++choice) {
    slot[choice] = expert[choice] < 0 ? -1 : next[expert[choice]]++;
    if (slot[choice] < 0) continue;
    token[slot[choice]] = choice / k;
    which[slot[choice]] = choice;
  }
  return order;
}

void HostBackend::gather_rows(const at::Tensor& x, const at::Tensor& index, const at::Tensor& out) const {
  const at::Tensor from = x.contiguous();
  const auto bytes = static_cast<int64_t>(x.size(1) * x.element_size());
  const auto* const source = static_cast<const std::byte*>(from.const_data_ptr());
  const auto* const row = index.const_data_ptr<int64_t>();
  auto* const target = static_cast<std::byte*>(out.mutable_data_ptr());
  at::parallel_for(0, index.size(0), grain_rows(x.size(1)), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      std::memcpy(target + i * bytes, source + row[i] * bytes, bytes);
    }
  });
}

at::Tensor HostBackend::combine_rows(const at::Tensor& rows, const at::Tensor& slot,
                                     const at::Tensor& weight) const {
  return combine_on_cpu(rows, slot, weight, {});
}

at::Tensor HostBackend::sum_rows(const at::Tensor& rows, const at::Tensor& slot,
                                 const RowsElsewhere& elsewhere) const {
  return combine_on_cpu(rows, slot, {}, elsewhere);
}

}  // namespace chorus::inline kernels
