#include "kernels/internal/quantized_product.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>

#include "kernels/internal/product_epilogue.h"
#include "kernels/internal/quantized_tile.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kMostAhead = 1 << 16, kFarAhead = 1024;  // bytes
constexpr int64_t kMostInput = 512;  // rows of input, quantized at once: they stay in near caches

/// Rows of input, quantized: `depth` values per row, in whole groups.
template <class Value>
struct QuantizedInput {
  int64_t depth = 0;
  std::vector<Value> values = {};
  std::vector<float> scales = {};     // [rows][groups]
  std::vector<int32_t> offsets = {};  // likewise: what sums begin with, the weight's q being `zero` too high

  [[nodiscard]] int64_t groups() const { return depth / kQuantizedGroup; }
};

/// values = a group's x, quantized.
template <class In, class Value>
CHORUS_INLINE inline void quantize_input_group(const In* x, int64_t count, int32_t zero, Value* values,
                                               float& scale, int32_t& offset) {
  using V = Floats<32>;
  using Ints __attribute__((vector_size(32))) = int32_t;
  constexpr int64_t kLanes = sizeof(V) / sizeof(float), kParts = kQuantizedGroup / kLanes;
  float group[kQuantizedGroup] = {};
  if (count == kQuantizedGroup) {
    for (int64_t i = 0; i < kQuantizedGroup; ++i) group[i] = widen(x[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) group[i] = widen(x[i]);
  }
  Ints largest = {};  // as bits, the order of which is that of numbers; NaN is the largest
  CHORUS_UNROLL
  for (int64_t part = 0; part < kParts; ++part) {
    Ints bits;
    std::memcpy(&bits, group + part * kLanes, sizeof bits);
    bits &= 0x7FFFFFFF;
    largest = bits > largest ? bits : largest;
  }
  int32_t lanes[kLanes], most = 0;
  std::memcpy(lanes, &largest, sizeof lanes);
  for (const int32_t bits : lanes) most = bits > most ? bits : most;
  const bool zeros = most < std::bit_cast<int32_t>(0x1p-100F);  // or so small that the inverse were no number
  scale = zeros ? 0 : std::bit_cast<float>(most) / 127;
  const float inverse = zeros ? 0 : 127 / std::bit_cast<float>(most);
  constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  using Words __attribute__((vector_size(32))) = uint32_t;
  Words sums = {};  // of what is not finite they are nothing in particular
  CHORUS_UNROLL
  for (int64_t part = 0; part < kParts; ++part) {
    V scaled;
    load(group + part * kLanes, scaled);
    scaled = scaled * inverse + kRound;
    Ints q;
    std::memcpy(&q, &scaled, sizeof q);
    q -= std::bit_cast<int32_t>(kRound);
    sums += reinterpret_cast<const Words&>(q);
    using Narrow __attribute__((vector_size(kLanes * sizeof(Value)))) = Value;
    const Narrow narrow = __builtin_convertvector(q, Narrow);
    std::memcpy(values + part * kLanes, &narrow, sizeof narrow);
  }
  uint32_t parts[kLanes], sum = 0;
  std::memcpy(parts, &sums, sizeof parts);
  for (const uint32_t part : parts) sum += part;
  offset = static_cast<int32_t>(0U - static_cast<uint32_t>(zero) * sum);
}

template <class In, class Value>
void quantize_rows(const In* input, int64_t stride, int64_t rows, int64_t depth, int32_t zero,
                   QuantizedInput<Value>& to) {
  const int64_t groups = quantized_groups(depth);
  to.depth = groups * kQuantizedGroup;
  to.values.resize(rows * to.depth);
  to.scales.resize(rows * groups);
  to.offsets.resize(rows * groups);
  const auto quantize = [&](int64_t begin, int64_t end) {
    run_kernel([&, depth = depth, groups = groups]() CHORUS_INLINE {
      for (int64_t row = begin; row < end; ++row) {
        for (int64_t g = 0; g < groups; ++g) {
          const int64_t first = g * kQuantizedGroup, at = row * groups + g;
          quantize_input_group(input + row * stride + first, std::min(kQuantizedGroup, depth - first), zero,
                               to.values.data() + at * kQuantizedGroup, to.scales[at], to.offsets[at]);
        }
      }
    });
  };
  at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, to.depth)), quantize);
}

/// Where a weight's bytes are.
template <class Mode>
struct WeightBlocks {
  static constexpr int64_t kLanes = sizeof(typename Mode::Ints) / sizeof(int32_t);
  static constexpr int64_t kVectors = kQuantizedRows / kLanes;  // of a block

  const uint8_t* data;
  int64_t bytes, scale_bytes, group_bytes;

  [[nodiscard]] const uint8_t* scales(int64_t vector) const {
    return data + vector / kVectors * bytes + vector % kVectors * kLanes * 2;
  }
  [[nodiscard]] const uint8_t* values(int64_t vector) const {
    return data + vector / kVectors * bytes + scale_bytes + vector % kVectors * kLanes * 4;
  }
};

template <class Mode, class Kernel>
void run_for_mode(const Kernel& kernel) {
  if constexpr (sizeof(typename Mode::Ints) == 64) {
    run_fused_avx512(kernel);
  } else {
    run_fused_plain(kernel);
  }
}

/// Rows of input `row` .. by vectors of the weight; what is where.
template <class Mode>
struct TileOperands {
  using Input = typename Mode::Input;
  const QuantizedInput<Input>& input;
  int64_t row;
  const WeightBlocks<Mode>& weight;

  [[nodiscard]] InputGroup<Input> group(int64_t g) const {
    const int64_t groups = input.groups(), at = row * groups + g;
    return {.values = input.values.data() + at * kQuantizedGroup,
            .scales = input.scales.data() + at,
            .offsets = input.offsets.data() + at,
            .groups = groups};
  }
};

/// sums [kRows][kVectors * lanes] by the vectors from `vector` on, the last of which is `last`.
template <class Mode, int64_t kRows, int64_t kVectors>
CHORUS_INLINE inline void multiply_quantized(const TileOperands<Mode>& tile, int64_t vector, int64_t last,
                                             float (&sums)[kRows][kVectors * WeightBlocks<Mode>::kLanes]) {
  using Ints = typename Mode::Ints;
  using V = Floats<sizeof(Ints)>;
  constexpr int64_t kLanes = WeightBlocks<Mode>::kLanes;
  const int64_t groups = tile.input.groups(), bytes = tile.weight.group_bytes;
  const uint8_t *scale[kVectors], *values[kVectors];
  CHORUS_UNROLL
  for (int64_t v = 0; v < kVectors; ++v) {
    scale[v] = tile.weight.scales(std::min(vector + v, last));
    values[v] = tile.weight.values(std::min(vector + v, last));
  }
  // What follows: in the next blocks, or in these where they are long.
  const int64_t next = tile.weight.bytes * kVectors / WeightBlocks<Mode>::kVectors,
                ahead = next <= kMostAhead ? next : kFarAhead;
  V total[kRows][kVectors] = {};
  for (int64_t g = 0; g < groups; ++g) {
    const auto x = tile.group(g);
    Ints exact[kRows][kVectors];
    Mode::multiply(values, ahead, x, exact);
    CHORUS_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) {
      V by;
      load(reinterpret_cast<const c10::BFloat16*>(scale[v]) + g * kQuantizedRows, by);
      if constexpr (kRows <= kFewInputs) __builtin_prefetch(scale[v] + g * kQuantizedRows * 2 + ahead, 0, 2);
      CHORUS_UNROLL
      for (int64_t r = 0; r < kRows; ++r)
        total[r][v] += __builtin_convertvector(exact[r][v], V) * (by * x.scales[r * x.groups]);
      values[v] += bytes;
    }
  }
  CHORUS_UNROLL
  for (int64_t r = 0; r < kRows; ++r) {
    CHORUS_UNROLL
    for (int64_t v = 0; v < kVectors; ++v) std::memcpy(sums[r] + v * kLanes, &total[r][v], sizeof(V));
  }
}

struct Vectors {
  int64_t begin, end;
};

template <class Mode, int64_t kRows, int64_t kVectors, class Out>
void run_tile(const QuantizedInput<typename Mode::Input>& input, int64_t row,
              const WeightBlocks<Mode>& weight, const Vectors& range, int64_t outputs,
              const Epilogue& epilogue, Out* out, int64_t stride) {
  constexpr int64_t kLanes = WeightBlocks<Mode>::kLanes;
  for (int64_t vector = range.begin; vector < range.end; vector += kVectors) {
    alignas(kQuantizedLine) float sums[kRows][kVectors * kLanes];
    const TileOperands<Mode> tile = {input, row, weight};
    run_for_mode<Mode>([&]() CHORUS_INLINE {
      multiply_quantized<Mode, kRows, kVectors>(tile, vector, range.end - 1, sums);
    });
    constexpr int64_t kWhole = kVectors * kLanes;
    const int64_t first = vector * kLanes,
                  count = std::min({kWhole, range.end * kLanes - first, outputs - first});
    run_kernel([&sums, &epilogue, out, row, first, count, stride]() CHORUS_INLINE {
      const Epilogue e = epilogue;
      for (int64_t r = 0; r < kRows; ++r) {
        Out* const to = out + (row + r) * stride + first;
        count == kWhole ? finish(sums[r], e, row + r, first, kWhole, to)
                        : finish(sums[r], e, row + r, first, count, to);
      }
    });
  }
}

template <class Mode, class Out>
void run_vectors(const QuantizedInput<typename Mode::Input>& input, int64_t rows,
                 const WeightBlocks<Mode>& weight, const Vectors& range, int64_t outputs,
                 const Epilogue& epilogue, Out* out, int64_t stride) {
  const auto tile = [&]<int64_t kRows, int64_t kVectors>(int64_t row, const Vectors& part) {
    run_tile<Mode, kRows, kVectors>(input, row, weight, part, outputs, epilogue, out, stride);
  };
  // So much of the weight at once as stays in the nearest cache while rows pass.
  constexpr bool kWide = WeightBlocks<Mode>::kLanes == kQuantizedRows;
  constexpr int64_t kTogether = 4;
  for (int64_t begin = range.begin; begin < range.end; begin += kTogether) {
    const Vectors part = {begin, std::min(range.end, begin + kTogether)};
    int64_t row = 0;
    if constexpr (kWide) {
      for (; row + 6 <= rows; row += 6) tile.template operator()<6, 2>(row, part);
    }
    for (; row + 4 <= rows; row += 4) tile.template operator()<4, kWide ? 2 : 1>(row, part);
    for (; row + 2 <= rows; row += 2) tile.template operator()<2, kWide ? 4 : 2>(row, part);
    for (; row < rows; ++row) tile.template operator()<1, 2>(row, part);
  }
}

template <class Mode, class In, class Out>
void run_mode(const In* input, int64_t input_stride, int64_t n, const Matrix& w, Out* out, int64_t stride,
              const Epilogue& epilogue) {
  constexpr int64_t kWork = 16 * kGrain;  // multiply-adds that are worth a thread of their own
  thread_local QuantizedInput<typename Mode::Input> mine;
  auto& rows = mine;  // threads below are to see this one's
  const WeightBlocks<Mode> weight = {.data = w.values.const_data_ptr<uint8_t>(),
                                     .bytes = w.values.size(1),
                                     .scale_bytes = quantized_scale_bytes(w.depth),
                                     .group_bytes = quantized_group_bytes(w.quantization)};
  constexpr int64_t kVectors = WeightBlocks<Mode>::kVectors;
  for (int64_t first = 0; first < n; first += kMostInput) {
    const int64_t count = std::min(kMostInput, n - first);
    quantize_rows(input + first * input_stride, input_stride, count, w.depth, quantized_zero(w.quantization),
                  rows);
    Epilogue part = epilogue;
    if (part.residual) part.residual += first * part.residual_stride;
    const int64_t blocks = w.values.size(0), work = kQuantizedRows * w.depth * count;
    at::parallel_for(0, blocks, std::max<int64_t>(1, kWork / std::max<int64_t>(1, work)),
                     [&](int64_t begin, int64_t end) {
                       run_vectors<Mode>(rows, count, weight, {begin * kVectors, end * kVectors}, w.rows,
                                         part, out + first * stride, stride);
                     });
  }
}

}  // namespace

template <class In, class Out>
void quantized_product(const In* input, int64_t input_stride, int64_t n, const Matrix& weight, Out* out,
                       int64_t stride, const Epilogue& epilogue) {
  const auto run = [&]<class Mode>() {
    run_mode<Mode>(input, input_stride, n, weight, out, stride, epilogue);
  };
  const bool int8 = weight.quantization == Quantization::int8;
  if (cpu_isa() >= Isa::avx512_vnni) {
    int8 ? run.template operator()<VnniTiles<Quantization::int8>>()
         : run.template operator()<VnniTiles<Quantization::int4>>();
  } else {
    int8 ? run.template operator()<WideningTiles<Quantization::int8>>()
         : run.template operator()<WideningTiles<Quantization::int4>>();
  }
}

template void quantized_product(const float*, int64_t, int64_t, const Matrix&, float*, int64_t,
                                const Epilogue&);
template void quantized_product(const c10::BFloat16*, int64_t, int64_t, const Matrix&, float*, int64_t,
                                const Epilogue&);
template void quantized_product(const c10::BFloat16*, int64_t, int64_t, const Matrix&, c10::BFloat16*,
                                int64_t, const Epilogue&);

}  // namespace chorus::inline kernels
