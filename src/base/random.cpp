#include "base/random.h"

#include <bit>
#include <cmath>

namespace chorus::inline base {

RandomKey RandomKey::derive(std::string_view name) const {
  uint64_t hash = 0xCBF29CE484222325;  // FNV-1a
  for (const char ch : name) {
    hash = (hash ^ static_cast<unsigned char>(ch)) * 0x100000001B3;
  }
  return RandomKey(word64(philox(key_, hash, kName)));
}

uint64_t RandomKey::bits(uint64_t index) const {
  return word64(philox(key_, index, kDraw));
}

float RandomKey::normal(uint64_t index) const {
  const auto w = philox(key_, index, kDraw);
  const double u = (static_cast<double>(w[0]) + 1.0) * 0x1p-32;  // (0, 1]
  const double v = static_cast<double>(w[1]) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * v));
}

uint64_t RandomKey::below(uint64_t index, uint64_t bound) const {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits(index)) * bound) >> 64);
}

uint64_t permute(RandomKey key, uint64_t index, uint64_t size) {
  if (size <= 1) {
    return 0;
  }
  // A balanced Feistel network on the smallest even number of bits that covers size; walk until inside.
  const int half = (std::bit_width(size - 1) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  uint64_t value = index;
  do {
    uint64_t left = value >> half, right = value & mask;
    for (uint64_t round = 0; round < 6; ++round) {
      const uint64_t mixed = left ^ (philox(key.value(), right, RandomKey::kPermute | round << 8)[0] & mask);
      left = right;
      right = mixed;
    }
    value = left << half | right;
  } while (value >= size);
  return value;
}

}  // namespace chorus::inline base
