#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/where.h>

#include "kernels/internal/composed.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kLow32 = 0xFFFFFFFF;

at::Tensor low_half(const at::Tensor& x) {
  return x.bitwise_and(kLow32);
}
at::Tensor high_half(const at::Tensor& x) {
  return x.bitwise_right_shift(32).bitwise_and_(kLow32);
}

}  // namespace

at::Tensor key_on_device(RandomKey key, at::Device device) {
  return at::full({1}, static_cast<int64_t>(key.value()), at::TensorOptions(at::kLong).device(device));
}

std::array<at::Tensor, 4> philox_words(const at::Tensor& keys, const at::Tensor& low, int64_t high) {
  at::Tensor k0 = low_half(keys), k1 = high_half(keys);
  at::Tensor c0 = low_half(low), c1 = high_half(low), c2 = at::full({1}, high, low.options()),
             c3 = at::full({1}, 0, low.options());
  for (int round = 0; round < 10; ++round) {
    const at::Tensor p0 = c0 * int64_t{0xD2511F53}, p1 = c2 * int64_t{0xCD9E8D57};  // modulo 2^64
    c0 = high_half(p1).bitwise_xor(c1).bitwise_xor(k0);
    c2 = high_half(p0).bitwise_xor(c3).bitwise_xor(k1);
    c1 = low_half(p1);
    c3 = low_half(p0);
    k0 = low_half(k0 + int64_t{0x9E3779B9});
    k1 = low_half(k1 + int64_t{0xBB67AE85});
  }
  return {c0, c1, c2, c3};
}

at::Tensor derive_keys(const at::Tensor& keys, const at::Tensor& numbers) {
  const auto words = philox_words(keys, numbers, RandomKey::kNumber);
  return words[0].bitwise_or(words[1].bitwise_left_shift(32));
}

at::Tensor uniform_numbers(RandomKey key, const at::Tensor& index) {
  const auto words = philox_words(key_on_device(key, index.device()), index, RandomKey::kDraw);
  return words[0].bitwise_right_shift(8).to(at::kFloat).mul_(0x1p-24);
}

at::Tensor ranking(const at::Tensor& rows) {
  // The bits of a float are in its order if those of a negative one are turned round; adding 0 makes -0 one with 0.
  const at::Tensor bits = (rows + 0.0).view(at::kInt).to(at::kLong);
  const at::Tensor ordered = at::where(bits < 0, bits.bitwise_xor(0x7FFFFFFF), bits);
  const int64_t width = rows.size(-1);
  return ordered * width - at::arange(width, ordered.options());
}

}  // namespace chorus::inline kernels
