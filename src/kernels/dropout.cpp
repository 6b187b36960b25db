#include "chorus/kernels/dropout.h"

#include <array>

#include <ATen/Context.h>
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/rand.h>

#include "chorus/kernels/cpu.h"

namespace chorus {

namespace {

constexpr int64_t kCounters =
    8;  // Philox counters computed side by side, so that the compiler vectorises them

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

/// out[i] = f(in[i], sixteen random bits of element i), element i taking half-word (i % 64) of the block of
/// eight counters number i / 64.
template <class T, class F>
void map_with_bits(const T* in, T* out, int64_t n, RandomKey key, F f) {
  constexpr int64_t kBlock = kCounters * 8;
  at::parallel_for(0, (n + kBlock - 1) / kBlock, kGrain / kBlock, [&](int64_t begin, int64_t end) {
    std::array<std::array<uint32_t, kCounters>, 4> words;
    for (int64_t block = begin; block < end; ++block) {
      philox_lanes(key.value(), static_cast<uint64_t>(block * kCounters), words);
      std::array<uint16_t, kBlock> bits;
      for (int64_t w = 0; w < 4; ++w) {
        for (int64_t lane = 0; lane < kCounters; ++lane) {
          bits[w * 16 + lane] = static_cast<uint16_t>(words[w][lane]);
          bits[w * 16 + 8 + lane] = static_cast<uint16_t>(words[w][lane] >> 16);
        }
      }
      const int64_t base = block * kBlock, count = std::min(kBlock, n - base);
      for (int64_t i = 0; i < count; ++i) {
        out[base + i] = f(in[base + i], bits[i]);
      }
    }
  });
}

/// Uniform numbers in [0, 1) on a device other than the CPU, a function of the key alone.
at::Tensor device_uniform(const at::Tensor& like, RandomKey key) {
  at::Generator generator = at::globalContext().defaultGenerator(like.device()).clone();
  generator.set_current_seed(key.value());
  return at::rand(like.sizes(), generator, like.options().dtype(at::kFloat));
}

}  // namespace

at::Tensor dropout_by_key(const at::Tensor& input, double p, RandomKey key) {
  const auto threshold = static_cast<uint16_t>(std::lround(p * 65536.0));
  const double keep = 1.0 - threshold / 65536.0;
  if (!input.is_cpu()) {
    return (input * (device_uniform(input, key) >= threshold / 65536.0)).mul_(1.0 / keep);
  }
  const at::Tensor in = input.contiguous();
  at::Tensor out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, in.scalar_type(), "dropout", [&] {
    const auto scale = static_cast<float>(1.0 / keep);
    map_with_bits(in.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>(), in.numel(), key,
                  [=](scalar_t x, uint16_t bits) {
                    return bits >= threshold ? static_cast<scalar_t>(x * scale) : static_cast<scalar_t>(0);
                  });
  });
  return out;
}

at::Tensor jitter_by_key(const at::Tensor& input, double epsilon, RandomKey key) {
  if (!input.is_cpu()) {
    return input * device_uniform(input, key).mul_(2 * epsilon).add_(1 - epsilon);
  }
  const at::Tensor in = input.contiguous();
  at::Tensor out = at::empty_like(in);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, in.scalar_type(), "jitter", [&] {
    const auto low = static_cast<float>(1 - epsilon), step = static_cast<float>(epsilon / 32768);
    map_with_bits(in.const_data_ptr<scalar_t>(), out.mutable_data_ptr<scalar_t>(), in.numel(), key,
                  [=](scalar_t x, uint16_t bits) { return static_cast<scalar_t>(x * (low + step * bits)); });
  });
  return out;
}

}  // namespace chorus
