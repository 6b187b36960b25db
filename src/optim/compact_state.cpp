#include "optim/compact_state.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include <ATen/Parallel.h>

#include "kernels/cpu.h"

namespace chorus::inline optim {

namespace {

int64_t blocks_of(int64_t n) {
  return (n + kStateBlock - 1) / kStateBlock;
}

/// Where the parts of n weights' packed state lie.
struct Layout {
  int64_t m, v, m_scales, v_scales, end;  // the master is first
};

Layout layout_of(StateForm form, int64_t rows, int64_t n) {
  const int64_t width = form == StateForm::bf16 ? 2 : 1, blocks = form == StateForm::bf16 ? 0 : blocks_of(n);
  Layout at = {};
  at.m = (rows - 2) * n * static_cast<int64_t>(sizeof(float));
  at.v = at.m + n * width;
  at.m_scales = at.v + n * width;
  at.v_scales = at.m_scales + blocks;
  at.end = at.v_scales + blocks;
  return at;
}

/// 16 bits that decide about rounding: evenly spread over steps for each element, and over elements.
struct Dither {
  uint32_t start;
  [[nodiscard]] CHORUS_INLINE uint32_t of(int64_t i) const {
    return (start + static_cast<uint32_t>(i) * 0x85EBCA77U) >> 16;
  }
};

Dither dither_of(int64_t step, bool second) {
  return {.start = static_cast<uint32_t>(step) * 0x9E3779B1U + (second ? 0x55555555U : 0)};
}

CHORUS_INLINE inline uint32_t bits_of(float x) {
  return std::bit_cast<uint32_t>(x);
}
CHORUS_INLINE inline float power_of_two(int exponent) {
  return std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
}

// ---- 8 bits: 3 of mantissa, exponents up to kTop, which is that of the block's largest; 0: no leading one

constexpr int kLowest = -90, kHighest = 126;  // powers of two of blocks
constexpr int kTopOfM = 15, kTopOfV = 31;

/// Returns the exponent of the largest element of a block, rounded up to 3 bits of mantissa.
CHORUS_INLINE inline int exponent_of(const float* x, int64_t n) {
  uint32_t most = 0;
  for (int64_t i = 0; i < n; ++i) {
    most = std::max(most, bits_of(x[i]) & 0x7FFFFFFF);
  }
  return std::clamp(static_cast<int>((most + 0xFFFFF) >> 23) - 127, kLowest, kHighest);
}

template <int kTop>
CHORUS_INLINE inline uint32_t encode(float x, float down, uint32_t dither) {
  constexpr float kNormal = 1.0F / static_cast<float>(1U << (kTop - 1));  // the least with a leading one
  const float y = std::abs(x) * down;                                     // below 2
  const uint32_t normal = ((bits_of(y) + (dither << 4)) >> 20) - ((127 - kTop) << 3);
  const auto small =
      static_cast<uint32_t>(std::min(y, kNormal) * (8 / kNormal) + static_cast<float>(dither) * 0x1p-16F);
  return y < kNormal ? small : normal;
}

template <int kTop>
CHORUS_INLINE inline float decode(uint32_t code, float up) {
  const float normal = std::bit_cast<float>((code + ((127 - kTop) << 3)) << 20);
  const float small = static_cast<float>(code) * (1.0F / static_cast<float>(1ULL << (kTop + 2)));
  return (code < 8 ? small : normal) * up;
}

struct Packed {
  uint8_t* codes;
  int8_t* scales;
};

CHORUS_INLINE inline void pack_m(const float* x, const Packed& out, int64_t block, int64_t n, Dither dither) {
  const int64_t first = block * kStateBlock, end = std::min(first + kStateBlock, n);
  const int exponent = exponent_of(x + first, end - first);
  const float down = power_of_two(-exponent);
  out.scales[block] = static_cast<int8_t>(exponent);
  for (int64_t i = first; i < end; ++i) {
    out.codes[i] = static_cast<uint8_t>(encode<kTopOfM>(x[i], down, dither.of(i)) | bits_of(x[i]) >> 31 << 7);
  }
}

CHORUS_INLINE inline void pack_v(const float* x, const Packed& out, int64_t block, int64_t n, Dither dither) {
  const int64_t first = block * kStateBlock, end = std::min(first + kStateBlock, n);
  const int exponent = exponent_of(x + first, end - first);
  const float down = power_of_two(-exponent);
  out.scales[block] = static_cast<int8_t>(exponent);
  for (int64_t i = first; i < end; ++i) {
    const uint32_t least = x[i] > 0 ? 1 : 0;
    out.codes[i] = static_cast<uint8_t>(std::max(encode<kTopOfV>(x[i], down, dither.of(i)), least));
  }
}

CHORUS_INLINE inline void unpack_m(const Packed& in, float* x, int64_t block, int64_t n) {
  const int64_t first = block * kStateBlock, end = std::min(first + kStateBlock, n);
  const float up = power_of_two(in.scales[block]);
  for (int64_t i = first; i < end; ++i) {
    const float size = decode<kTopOfM>(in.codes[i] & 0x7F, up);
    x[i] = std::bit_cast<float>(bits_of(size) | static_cast<uint32_t>(in.codes[i] >> 7) << 31);
  }
}

CHORUS_INLINE inline void unpack_v(const Packed& in, float* x, int64_t block, int64_t n) {
  const int64_t first = block * kStateBlock, end = std::min(first + kStateBlock, n);
  const float up = power_of_two(in.scales[block]);
  for (int64_t i = first; i < end; ++i) {
    x[i] = decode<kTopOfV>(in.codes[i], up);
  }
}

// ---- 16 bits

CHORUS_INLINE inline void pack_bf16(const float* x, uint16_t* out, int64_t begin, int64_t end,
                                    Dither dither) {
  for (int64_t i = begin; i < end; ++i) {
    out[i] = static_cast<uint16_t>((bits_of(x[i]) + dither.of(i)) >> 16);
  }
}

CHORUS_INLINE inline void unpack_bf16(const uint16_t* in, float* x, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    x[i] = std::bit_cast<float>(static_cast<uint32_t>(in[i]) << 16);
  }
}

/// f(first, last) for blocks of the n weights, on all threads.
template <class F>
void for_blocks(int64_t n, const F& f) {
  at::parallel_for(0, blocks_of(n), kGrain / kStateBlock,
                   [&](int64_t first, int64_t last) { run_kernel([&]() CHORUS_INLINE { f(first, last); }); });
}

}  // namespace

int64_t packed_bytes(StateForm form, int64_t rows, int64_t n) {
  return form == StateForm::fp32 ? 4 * rows * n : layout_of(form, rows, n).end;
}

std::vector<int64_t> packed_cuts(const std::vector<int64_t>& cuts, StateForm form, int64_t rows) {
  std::vector<int64_t> packed = {0};
  packed.reserve(cuts.size());
  for (size_t i = 1; i < cuts.size(); ++i) {
    packed.push_back(packed.back() + packed_bytes(form, rows, cuts[i] - cuts[i - 1]));
  }
  return packed;
}

void pack_state(StateForm form, const at::Tensor& state, int64_t step, const at::Tensor& bytes) {
  const int64_t rows = state.size(0), n = state.size(1);
  if (n == 0) return;
  const Layout at = layout_of(form, rows, n);
  const auto* const m = state.const_data_ptr<float>();
  const float* const v = m + n;
  auto* const out = bytes.mutable_data_ptr<uint8_t>();
  if (rows == 3) std::memcpy(out, v + n, static_cast<size_t>(at.m));
  const Dither first_dither = dither_of(step, false), second_dither = dither_of(step, true);
  if (form == StateForm::bf16) {
    auto* const m16 = reinterpret_cast<uint16_t*>(out + at.m);
    auto* const v16 = reinterpret_cast<uint16_t*>(out + at.v);
    for_blocks(n, [&](int64_t first, int64_t last) CHORUS_INLINE {
      const int64_t begin = first * kStateBlock, end = std::min(last * kStateBlock, n);
      pack_bf16(m, m16, begin, end, first_dither);
      pack_bf16(v, v16, begin, end, second_dither);
    });
    return;
  }
  const Packed m8 = {out + at.m, reinterpret_cast<int8_t*>(out + at.m_scales)};
  const Packed v8 = {out + at.v, reinterpret_cast<int8_t*>(out + at.v_scales)};
  for_blocks(n, [&](int64_t first, int64_t last) CHORUS_INLINE {
    for (int64_t block = first; block < last; ++block) {
      pack_m(m, m8, block, n, first_dither);
      pack_v(v, v8, block, n, second_dither);
    }
  });
}

void unpack_state(StateForm form, const at::Tensor& bytes, const at::Tensor& state) {
  const int64_t rows = state.size(0), n = state.size(1);
  if (n == 0) return;
  const Layout at = layout_of(form, rows, n);
  auto* const m = state.mutable_data_ptr<float>();
  float* const v = m + n;
  auto* const in = bytes.mutable_data_ptr<uint8_t>();
  if (rows == 3) std::memcpy(v + n, in, static_cast<size_t>(at.m));
  if (form == StateForm::bf16) {
    const auto* const m16 = reinterpret_cast<const uint16_t*>(in + at.m);
    const auto* const v16 = reinterpret_cast<const uint16_t*>(in + at.v);
    for_blocks(n, [&](int64_t first, int64_t last) CHORUS_INLINE {
      const int64_t begin = first * kStateBlock, end = std::min(last * kStateBlock, n);
      unpack_bf16(m16, m, begin, end);
      unpack_bf16(v16, v, begin, end);
    });
    return;
  }
  const Packed m8 = {in + at.m, reinterpret_cast<int8_t*>(in + at.m_scales)};
  const Packed v8 = {in + at.v, reinterpret_cast<int8_t*>(in + at.v_scales)};
  for_blocks(n, [&](int64_t first, int64_t last) CHORUS_INLINE {
    for (int64_t block = first; block < last; ++block) {
      unpack_m(m8, m, block, n);
      unpack_v(v8, v, block, n);
    }
  });
}

}  // namespace chorus::inline optim
