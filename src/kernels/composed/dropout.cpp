#include "kernels/dropout.h"

#include <ATen/TensorOperators.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/threshold.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kHalves = 64;  // elements of a block, each of which takes sixteen bits
constexpr int64_t kCountersOfBlock = 8;
constexpr int64_t kLow32 = 0xFFFFFFFF;

/// The sixteen bits of elements 0 .. count - 1 of each key, as the host draws them (kernels/cpu/dropout.cpp): int64
/// [keys, count].
at::Tensor random_halves(at::Device device, std::span<const RandomKey> keys, int64_t count) {
  const at::TensorOptions whole = at::TensorOptions().dtype(at::kLong);
  at::Tensor k0 = at::empty({std::ssize(keys), 1}, whole), k1 = at::empty_like(k0);
  for (int64_t i = 0; i < std::ssize(keys); ++i) {
    k0.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(keys[i].value() & kLow32);
    k1.mutable_data_ptr<int64_t>()[i] = static_cast<int64_t>(keys[i].value() >> 32);
  }
  k0 = k0.to(device);
  k1 = k1.to(device);
  const int64_t blocks = (count + kHalves - 1) / kHalves;
  const at::Tensor counter = at::arange(blocks * kCountersOfBlock, whole.device(device))
                                 .expand({std::ssize(keys), blocks * kCountersOfBlock});
  at::Tensor c0 = counter.bitwise_and(kLow32), c1 = counter.bitwise_right_shift(32), c2 = at::zeros_like(c0),
             c3 = c2;
  for (int round = 0; round < 10; ++round) {
    const at::Tensor p0 = c0 * int64_t{0xD2511F53}, p1 = c2 * int64_t{0xCD9E8D57};  // modulo 2^64
    const auto high = [](const at::Tensor& p) { return p.bitwise_right_shift(32).bitwise_and_(kLow32); };
    c0 = high(p1).bitwise_xor_(c1).bitwise_xor_(k0);
    c2 = high(p0).bitwise_xor_(c3).bitwise_xor_(k1);
    c1 = p1.bitwise_and(kLow32);
    c3 = p0.bitwise_and(kLow32);
    k0 = k0.add(int64_t{0x9E3779B9}).bitwise_and_(kLow32);
    k1 = k1.add(int64_t{0xBB67AE85}).bitwise_and_(kLow32);
  }
  // [keys, blocks, word, half, counter]: what block of eight counters an element belongs to, and where in it.
  const at::Tensor words =
      at::stack({c0, c1, c2, c3}, 2).view({std::ssize(keys), blocks, kCountersOfBlock, 4}).transpose(2, 3);
  const at::Tensor halves = at::stack({words.bitwise_and(0xFFFF), words.bitwise_right_shift(16)}, 3);
  return halves.reshape({std::ssize(keys), blocks * kHalves}).narrow(1, 0, count);
}

/// The same for the elements of `input`, whose numbers are those they have in the larger tensor.
at::Tensor random_halves(const at::Tensor& input, RandomKey key, const SliceOf& slice) {
  const int64_t dimension = at::maybe_wrap_dim(slice.dimension, std::max<int64_t>(1, input.dim()));
  std::vector<int64_t> sizes = input.sizes().vec();
  if (slice.total > 0) sizes[dimension] = slice.total;
  const at::Tensor all = random_halves(input.device(), {&key, 1}, c10::multiply_integers(sizes)).view(sizes);
  return slice.total > 0 ? all.narrow(dimension, slice.first, input.size(dimension)) : all;
}

at::Tensor dropped(const at::Tensor& input, double p, const at::Tensor& halves) {
  const uint16_t threshold = threshold_of(p);
  const at::Tensor scaled = input.to(sum_type(input)) * static_cast<float>(1.0 / keep_of(threshold));
  return at::where(halves.ge(threshold), scaled, 0).to(input.scalar_type());
}

}  // namespace

at::Tensor Backend::dropout(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice) const {
  return dropped(input, p, random_halves(input, key, slice));
}

at::Tensor Backend::dropout_rows(const at::Tensor& rows, double p, std::span<const RandomKey> keys,
                                 int64_t first) const {
  const at::Tensor halves = random_halves(rows.device(), keys, first + rows.size(1));
  return dropped(rows, p, halves.narrow(1, first, rows.size(1)));
}

at::Tensor Backend::jitter(const at::Tensor& input, double epsilon, RandomKey key) const {
  const auto low = static_cast<float>(1 - epsilon), step = static_cast<float>(epsilon / 32768);
  const at::Tensor factor = random_halves(input, key, {}).to(at::kFloat).mul_(step).add_(low);
  return (input.to(sum_type(input)) * factor).to(input.scalar_type());
}

}  // namespace chorus::inline kernels
