// Counter-based random numbers: every draw is a pure function of a key and an index.
//
// Nothing here has state, so a draw does not depend on threads, on the order of calls, or on how work is laid
// out over ranks. A key is derived from the run's seed by naming what the numbers are for:
//
//   RandomKey step = RandomKey(seed).derive("dropout").derive(update);
//   float u = step.uniform(element_index);
//
// The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace chorus::inline base {

/// Four 32-bit random words for a 128-bit counter under a 64-bit key. (constexpr: a device's kernels draw by it too.)
constexpr std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  uint32_t c[4] = {static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                   static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    c[0] = static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0;
    c[1] = static_cast<uint32_t>(p1);
    c[2] = static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1;
    c[3] = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return {c[0], c[1], c[2], c[3]};
}

class RandomKey {
 public:
  /// What a number is drawn for: the upper half of the counter, so that names, numbers and draws are apart though all
  /// go through one generator.
  enum Domain : uint64_t { kDraw = 0, kName = 1, kNumber = 2, kPermute = 3 };

  constexpr explicit RandomKey(uint64_t seed = 0) : key_(seed) {}

  /// The key for a named use, or for the i-th item, under this one. Distinct names and numbers give unrelated
  /// keys.
  [[nodiscard]] RandomKey derive(std::string_view name) const;
  [[nodiscard]] constexpr RandomKey derive(uint64_t number) const {
    return RandomKey(word64(philox(key_, number, kNumber)));
  }

  /// 64 random bits for `index`.
  [[nodiscard]] uint64_t bits(uint64_t index) const;
  /// Uniform in [0, 1), a multiple of 2^-24.
  [[nodiscard]] constexpr float uniform(uint64_t index) const {
    return static_cast<float>(philox(key_, index, kDraw)[0] >> 8) * 0x1p-24F;
  }
  /// Standard normal (Box-Muller on the words of `index`).
  [[nodiscard]] float normal(uint64_t index) const;
  /// Uniform in [0, bound), bound >= 1, without modulo bias worth the name (64-bit multiply-shift).
  [[nodiscard]] uint64_t below(uint64_t index, uint64_t bound) const;

  [[nodiscard]] constexpr uint64_t value() const { return key_; }

 private:
  static constexpr uint64_t word64(const std::array<uint32_t, 4>& w) {
    return w[0] | static_cast<uint64_t>(w[1]) << 32;
  }

  uint64_t key_;
};

/// A bijection of [0, size) keyed by `key`: position i of a shuffled sequence, computed in O(1) with no table
/// (a Feistel network with cycle walking).
uint64_t permute(RandomKey key, uint64_t index, uint64_t size);

}  // namespace chorus::inline base
