#include "kernels/dropout.h"

#include <array>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/empty_like.h>

#include "kernels/cpu.h"

#include "kernels/internal/backend.h"
#include "kernels/internal/threshold.h"

namespace chorus::inline kernels {

namespace {

// Philox counters computed side by side, so that the compiler vectorises them.
constexpr int64_t kCounters = 8;

/// Words 0..3 of counters first .. first + kCounters, lane by lane: words[w][lane]. Same numbers as philox().
void philox_lanes(uint64_t key, uint64_t first, std::array<std::array<uint32_t, kCounters>, 4>& words) {
  constexpr uint64_t kMul0 = 0xD2511F53, kMul1 = 0xCD9E8D57;
  auto& [c0, c1, c2, c3] = words;
  for (int64_t lane = 0; lane < kCounters; ++lane) {
    const uint64_t counter = first + lane;
    c0[lane] = static_cast<uint32_t>(counter);
    c1[lane] = static_cast<uint32_t>(counter >> 32);
    c2[lane] = 0;
    c3[lane] = 0;
  }
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int64_t lane = 0; lane < kCounters; ++lane) {
      const uint64_t p0 = kMul0 * c0[lane], p1 = kMul1 * c2[lane];
      c0[lane] = static_cast<uint32_t>(p1 >> 32) ^ c1[lane] ^ k0;
      c2[lane] = static_cast<uint32_t>(p0 >> 32) ^ c3[lane] ^ k1;
      c1[lane] = static_cast<uint32_t>(p1);
      c3[lane] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
}

/// Stretches of memory that lie one after the other, and the numbers of their elements: those of stretch s
/// begin at first + s * distance.
struct Stretches {
  int64_t count = 1, length = 0, first = 0, distance = 0;
};

/// out[i] = f(in[i], sixteen random bits of its number), element number n taking half-word (n % 64) of the
/// block of eight counters number n / 64 of key_of(stretch).
template <class T, class Key, class F>
void map_with_bits(const T* in, T* out, const Stretches& stretches, const Key& key_of, F f) {
  constexpr int64_t kBlockLength = kCounters * 8;
  // Where stretches begin inside a block, they touch one more.
  const bool aligned = stretches.first % kBlockLength == 0 && stretches.distance % kBlockLength == 0;
  const int64_t blocks = (stretches.length + kBlockLength - 1) / kBlockLength + (aligned ? 0 : 1);
  at::parallel_for(
      0, stretches.count * blocks, kGrain / kBlockLength, [&](int64_t begin_task, int64_t end_task) {
        std::array<std::array<uint32_t, kCounters>, 4> words;
        for (int64_t task = begin_task; task < end_task; ++task) {
          const int64_t stretch = task / blocks, number = stretches.first + stretch * stretches.distance;
          const int64_t block = number / kBlockLength + task % blocks;
          const int64_t begin = std::max(number, block * kBlockLength);
          const int64_t end = std::min(number + stretches.length, (block + 1) * kBlockLength);
          if (begin >= end) continue;
          philox_lanes(key_of(stretch).value(), static_cast<uint64_t>(block * kCounters), words);
          std::array<uint16_t, kBlockLength> bits;
          for (int64_t w = 0; w < 4; ++w) {
            for (int64_t lane = 0; lane < kCounters; ++lane) {
              bits[w * 16 + lane] = static_cast<uint16_t>(words[w][lane]);
              bits[w * 16 + 8 + lane] = static_cast<uint16_t>(words[w][lane] >> 16);
            }
          }
          const int64_t at = stretch * stretches.length + begin - number, count = end - begin;
          const uint16_t* const own = bits.data() + (begin - block * kBlockLength);
          for (int64_t i = 0; i < count; ++i) {
            out[at + i] = f(in[at + i], own[i]);
          }
        }
      });
}

template <class Key>
at::Tensor dropout_on_cpu(const at::Tensor& input, double p, const Stretches& stretches, const Key& key_of) {
  const uint16_t threshold = threshold_of(p);
  const at::Tensor in = input.contiguous();
  at::Tensor out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, in.scalar_type(), "dropout", [&] {
    const auto scale = static_cast<float>(1.0 / keep_of(threshold));
    map_with_bits(in.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>(), stretches, key_of,
                  [=](scalar_t x, uint16_t bits) {
                    return bits >= threshold ? static_cast<scalar_t>(x * scale) : static_cast<scalar_t>(0);
                  });
  });
  return out;
}

}  // namespace

at::Tensor HostBackend::dropout(const at::Tensor& input, double p, RandomKey key,
                                const SliceOf& slice) const {
  const int64_t dimension = at::maybe_wrap_dim(slice.dimension, input.dim());
  Stretches stretches = {.length = input.numel()};
  if (slice.total > 0 && input.numel() > 0) {
    const int64_t width = c10::multiply_integers(input.sizes().slice(dimension + 1));
    stretches.length = input.size(dimension) * width;
    stretches.count = input.numel() / stretches.length;
    stretches.first = slice.first * width;
    stretches.distance = slice.total * width;
  }
  return dropout_on_cpu(input, p, stretches, [key](int64_t) { return key; });
}

at::Tensor dropout_rows_by_key(const at::Tensor& rows, double p, std::span<const RandomKey> keys,
                               int64_t first) {
  return dropout_on_cpu(rows, p, {.count = rows.size(0), .length = rows.size(1), .first = first},
                        [keys](int64_t row) { return keys[row]; });
}

at::Tensor HostBackend::jitter(const at::Tensor& input, double epsilon, RandomKey key) const {
  const at::Tensor in = input.contiguous();
  at::Tensor out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, in.scalar_type(), "jitter", [&] {
    const auto low = static_cast<float>(1 - epsilon), step = static_cast<float>(epsilon / 32768);
    map_with_bits(
        in.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>(), {.length = in.numel()},
        [key](int64_t) { return key; },
        [=](scalar_t x, uint16_t bits) { return static_cast<scalar_t>(x * (low + step * bits)); });
  });
  return out;
}

}  // namespace chorus::inline kernels
