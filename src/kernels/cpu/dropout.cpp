#include "kernels/dropout.h"

#include <bit>
#include <cstring>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>
#include <immintrin.h>

#include "kernels/cpu.h"

#include "kernels/internal/backend.h"
#include "kernels/internal/drawing.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kCounters = 8;                 // Philox counters computed side by side
constexpr int64_t kBlockLength = kCounters * 8;  // elements that they give sixteen bits each

/// Four counters' words, each in the lower half of its lane; the upper halves are anything.
using Counters = uint64_t __attribute__((vector_size(32)));

CHORUS_INLINE inline Counters multiply_low(const Counters& a, const Counters& b) {
  return std::bit_cast<Counters>(_mm256_mul_epu32(std::bit_cast<__m256i>(a), std::bit_cast<__m256i>(b)));
}

/// bits[0 .. kBlockLength): the half-words of counters first .. first + kCounters of philox(): word by word, the
/// lower halves of all counters, then their upper ones.
CHORUS_INLINE inline void random_halves(uint64_t key, uint64_t first, uint32_t* bits) {
  constexpr int64_t kParts = kCounters / 4;
  const Counters mul0 = Counters{} + 0xD2511F53, mul1 = Counters{} + 0xCD9E8D57;
  Counters words[4][kParts] = {};
  auto& [c0, c1, c2, c3] = words;
  for (int64_t part = 0; part < kParts; ++part) {
    c0[part] = Counters{0, 1, 2, 3} + (first + 4 * part);
    c1[part] = c0[part] >> 32;
  }
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int64_t part = 0; part < kParts; ++part) {
      const Counters p0 = multiply_low(c0[part], mul0), p1 = multiply_low(c2[part], mul1);
      c0[part] = (p1 >> 32) ^ c1[part] ^ uint64_t { k0 };
      c2[part] = (p0 >> 32) ^ c3[part] ^ uint64_t { k1 };
      c1[part] = p1;
      c3[part] = p0;
    }
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  using Halves = uint32_t __attribute__((vector_size(16)));
  for (int64_t word = 0; word < 4; ++word) {
    for (int64_t part = 0; part < kParts; ++part) {
      const auto whole = __builtin_convertvector(words[word][part], Halves);
      const Halves low = whole & 0xFFFF, high = whole >> 16;
      std::memcpy(bits + word * 2 * kCounters + part * 4, &low, sizeof(low));
      std::memcpy(bits + word * 2 * kCounters + kCounters + part * 4, &high, sizeof(high));
    }
  }
}

/// out[i] = f(in[i], sixteen random bits of its number), element number n taking half-word (n % 64) of the
/// block of eight counters number n / 64 of key_of(stretch).
template <class T, class Key, class F>
void map_with_bits(const T* in, T* out, const Stretches& stretches, const Key& key_of, F f) {
  // Where stretches begin inside a block, they touch one more.
  const bool aligned = stretches.first % kBlockLength == 0 && stretches.distance % kBlockLength == 0;
  const int64_t blocks = (stretches.length + kBlockLength - 1) / kBlockLength + (aligned ? 0 : 1);
  at::parallel_for(
      0, stretches.count * blocks, kGrain / kBlockLength, [&](int64_t begin_task, int64_t end_task) {
        run_kernel([&]() CHORUS_INLINE {
          const F own = f;  // which stores to `out` cannot change, for all that the compiler knows
          for (int64_t task = begin_task; task < end_task; ++task) {
            const int64_t stretch = task / blocks, number = stretches.first + stretch * stretches.distance;
            const int64_t block = number / kBlockLength + task % blocks;
            const int64_t begin = std::max(number, block * kBlockLength);
            const int64_t end = std::min(number + stretches.length, (block + 1) * kBlockLength);
            if (begin >= end) continue;
            uint32_t bits[kBlockLength];
            random_halves(key_of(stretch).value(), static_cast<uint64_t>(block * kCounters), bits);
            const int64_t at = stretch * stretches.length + begin - number;
            if (end - begin == kBlockLength) {  // by a number that the compiler knows
              for (int64_t i = 0; i < kBlockLength; ++i) out[at + i] = own(in[at + i], bits[i]);
              continue;
            }
            const uint32_t* const first = bits + (begin - block * kBlockLength);
            for (int64_t i = 0; i < end - begin; ++i) out[at + i] = own(in[at + i], first[i]);
          }
        });
      });
}

template <class Key>
at::Tensor dropout_on_cpu(const at::Tensor& input, double p, const Stretches& stretches, const Key& key_of) {
  const uint32_t threshold = threshold_of(p);
  const at::Tensor in = input.contiguous();
  at::Tensor out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, in.scalar_type(), "dropout", [&] {
    const auto scale = static_cast<float>(1.0 / keep_of(threshold));
    map_with_bits(in.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>(), stretches, key_of,
                  [=](scalar_t x, uint32_t bits)
                      CHORUS_INLINE { return narrow<scalar_t>(bits >= threshold ? widen(x) * scale : 0); });
  });
  return out;
}

}  // namespace

at::Tensor HostBackend::dropout(const at::Tensor& input, double p, RandomKey key,
                                const SliceOf& slice) const {
  return dropout_on_cpu(input, p, stretches_of(input, slice), [key](int64_t) { return key; });
}

at::Tensor HostBackend::dropout_rows(const at::Tensor& rows, double p, const at::Tensor& keys,
                                     int64_t first) const {
  return dropout_on_cpu(rows, p, {.count = rows.size(0), .length = rows.size(1), .first = first},
                        [key = keys.const_data_ptr<int64_t>()](int64_t row) {
                          return RandomKey(static_cast<uint64_t>(key[row]));
                        });
}

at::Tensor HostBackend::jitter(const at::Tensor& input, double epsilon, RandomKey key) const {
  const at::Tensor in = input.contiguous();
  at::Tensor out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, in.scalar_type(), "jitter", [&] {
    const auto low = static_cast<float>(1 - epsilon), step = static_cast<float>(epsilon / 32768);
    map_with_bits(
        in.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>(), {.length = in.numel()},
        [key](int64_t) { return key; },
        [=](scalar_t x, uint32_t bits)
            CHORUS_INLINE { return narrow<scalar_t>(widen(x) * (low + step * static_cast<int32_t>(bits))); });
  });
  return out;
}

}  // namespace chorus::inline kernels
