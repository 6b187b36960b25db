#include "kernels/quantized.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include "base/error.h"
#include "kernels/cpu.h"

#include "kernels/internal/fused.h"
#include "kernels/internal/quantized_product.h"

namespace chorus::inline kernels {

namespace {

/// Where the parts of a quantized weight lie.
struct QuantizedLayout {
  Quantization type;
  int64_t depth;

  [[nodiscard]] int64_t bytes() const {
    return quantized_scale_bytes(depth) + quantized_groups(depth) * quantized_group_bytes(type);
  }
  [[nodiscard]] static int64_t scale(int64_t row, int64_t group) {
    return (group * kQuantizedRows + row % kQuantizedRows) * 2;
  }
  /// Returns the offset of the byte that holds an element.
  [[nodiscard]] int64_t value(int64_t row, int64_t column) const {
    const int64_t group = column / kQuantizedGroup, within = column % kQuantizedGroup,
                  columns = type == Quantization::int4 ? 8 : 4;  // of a line
    return quantized_scale_bytes(depth) + group * quantized_group_bytes(type) + within / columns * 64 +
           row % kQuantizedRows * 4 + within % 4;
  }
  [[nodiscard]] int64_t shift(int64_t column) const {
    return type == Quantization::int4 && column % 8 >= 4 ? 4 : 0;
  }
};

constexpr float kLeast = 0x1p-100F;  // what is smaller is taken for zero: its inverse would be no number

float from_bf16(const uint8_t* at) {
  c10::BFloat16 value;
  std::memcpy(&value, at, sizeof value);
  return widen(value);
}

/// The elements of one group of a row.
struct GroupValues {
  using V = Floats<64>;
  static constexpr int64_t kParts = kQuantizedGroup * sizeof(float) / sizeof(V);
  V parts[kParts];
};

/// What they become.
struct QuantizedGroup {
  float scale = 0;  // as bf16 has it
  GroupValues values = {};
};

/// How q is rounded: to the nearest integer within these.
struct QuantizedRange {
  float low, high;

  CHORUS_INLINE void round(const GroupValues::V& x, float inverse, GroupValues::V& q) const {
    constexpr float kRound = 12582912.0F;  // 1.5 * 2^23: adding it rounds to the nearest integer
    q = x * inverse + kRound - kRound;
    q = q < low ? low - GroupValues::V{} : q;
    q = q > high ? high - GroupValues::V{} : q;
  }
};

struct ScaledError {
  float scale = 0, error = std::numeric_limits<float>::infinity();
};

/// The best scale for the values that `trial` leads to, and its error.
CHORUS_INLINE inline ScaledError refine(const GroupValues& x, const GroupValues& importance, float trial,
                                        const QuantizedRange& range) {
  using V = GroupValues::V;
  V q[GroupValues::kParts], xq = {}, qq = {}, errors = {};
  for (int64_t i = 0; i < GroupValues::kParts; ++i) {
    range.round(x.parts[i], 1 / trial, q[i]);
    xq += importance.parts[i] * x.parts[i] * q[i];
    qq += importance.parts[i] * q[i] * q[i];
  }
  const float length = sum_of(qq);
  ScaledError result = {.scale = widen(narrow<c10::BFloat16>(length > 0 ? sum_of(xq) / length : trial))};
  for (int64_t i = 0; i < GroupValues::kParts; ++i) {
    const V off = x.parts[i] - result.scale * q[i];
    errors += importance.parts[i] * off * off;
  }
  result.error = sum_of(errors);
  return result;
}

/// Returns the quantization with the least error, of scales from the one that just reaches the largest element down;
/// in int4 also with the largest element at -8.
CHORUS_INLINE inline QuantizedGroup best_quantization(const GroupValues& x, const GroupValues& importance,
                                                      float largest, Quantization type) {
  const bool int4 = type == Quantization::int4;
  const QuantizedRange range = {.low = int4 ? -8.0F : -127.0F, .high = int4 ? 7.0F : 127.0F};
  const int steps = int4 ? 8 : 1;
  ScaledError best;
  for (int step = 0; step < steps; ++step) {
    const float share = 1 - 0.03F * static_cast<float>(step);
    for (const float end : {range.high, range.low}) {
      if (!int4 && end == range.low) continue;  // the same numbers, all negative
      const ScaledError refined = refine(x, importance, largest / end * share, range);
      if (refined.error < best.error) best = refined;
    }
  }
  QuantizedGroup group = {.scale = best.scale};
  for (int64_t i = 0; i < GroupValues::kParts; ++i)
    range.round(x.parts[i], best.scale == 0 ? 0 : 1 / best.scale, group.values.parts[i]);
  return group;
}

}  // namespace

std::vector<int64_t> quantized_shape(int64_t rows, int64_t depth, Quantization type) {
  return {(rows + kQuantizedRows - 1) / kQuantizedRows, QuantizedLayout{type, depth}.bytes()};
}

Matrix::Matrix(const at::Tensor& floating)
    : values(floating.dim() == 2 ? floating : floating.view({-1, floating.size(-1)})),
      rows(values.size(0)),
      depth(values.size(1)) {}

Matrix::Matrix(at::Tensor blocks, Quantization type, int64_t row_count, int64_t columns)
    : values(std::move(blocks)), quantization(type), rows(row_count), depth(columns) {
  if (values.scalar_type() != at::kByte || !values.is_contiguous() ||
      values.sizes() != at::IntArrayRef(quantized_shape(rows, depth, type)))
    throw Error("a quantized weight of {} rows and {} columns does not have its shape", rows, depth);
}

at::Tensor quantize(const at::Tensor& weight, Quantization type, const at::Tensor& importance) {
  const at::Tensor w = weight.to(at::kFloat).contiguous();
  if (!w.isfinite().all().item<bool>()) throw Error("a weight to be quantized is not finite");
  const int64_t rows = w.size(0), depth = w.size(1), groups = quantized_groups(depth);
  const QuantizedLayout layout = {type, depth};
  at::Tensor blocks = at::zeros(quantized_shape(rows, depth, type), at::kByte);
  const auto* const from = w.const_data_ptr<float>();
  const auto* const counts = importance.defined() ? importance.const_data_ptr<float>() : nullptr;
  auto* const to = blocks.mutable_data_ptr<uint8_t>();
  const int zero = quantized_zero(type);
  at::parallel_for(0, blocks.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin * kQuantizedRows; row < end * kQuantizedRows; ++row) {
      uint8_t* const block = to + row / kQuantizedRows * layout.bytes();
      for (int64_t g = 0; g < groups; ++g) {
        float x[kQuantizedGroup] = {}, counted[kQuantizedGroup] = {}, largest = 0;
        const int64_t first = g * kQuantizedGroup,
                      count = row < rows ? std::min(kQuantizedGroup, depth - first) : 0;
        for (int64_t i = 0; i < count; ++i) {
          x[i] = from[row * depth + first + i];
          counted[i] = counts ? counts[first + i] : 1;
          if (std::abs(x[i]) > std::abs(largest)) largest = x[i];
        }
        QuantizedGroup group;
        if (std::abs(largest) > kLeast) {
          GroupValues values, importances;
          const int exponent = std::ilogb(largest);
          const float unit = std::ldexp(1.0F, -exponent);  // otherwise squares of errors might be no numbers
          for (float& value : x) value *= unit;
          std::memcpy(&values, x, sizeof x);
          std::memcpy(&importances, counted, sizeof counted);
          run_kernel(
              [&]() CHORUS_INLINE { group = best_quantization(values, importances, largest * unit, type); });
          group.scale = std::ldexp(group.scale, exponent);
        }
        const auto scale = narrow<c10::BFloat16>(group.scale);
        std::memcpy(block + QuantizedLayout::scale(row, g), &scale, sizeof scale);
        float q[kQuantizedGroup];
        std::memcpy(q, &group.values, sizeof q);
        uint8_t* const values = block + layout.value(row, first);
        for (int64_t i = 0; i < kQuantizedGroup; ++i)
          values[layout.value(0, i) - layout.value(0, 0)] |=
              static_cast<uint8_t>((static_cast<int>(q[i]) + zero) << layout.shift(i));
      }
    }
  });
  return blocks;
}

at::Tensor select_rows(const Matrix& weight, const at::Tensor& ids) {
  if (weight.quantization == Quantization::none) return weight.values.index_select(0, ids).to(at::kFloat);
  const QuantizedLayout layout = {weight.quantization, weight.depth};
  const int zero = quantized_zero(weight.quantization),
            mask = weight.quantization == Quantization::int4 ? 15 : 255;
  at::Tensor out = at::empty({ids.numel(), weight.depth}, at::kFloat);
  const at::Tensor rows = ids.contiguous();
  const auto* const number = rows.const_data_ptr<int64_t>();
  const auto* const from = weight.values.const_data_ptr<uint8_t>();
  auto* const to = out.mutable_data_ptr<float>();
  at::parallel_for(0, ids.numel(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, weight.depth)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t i = begin; i < end; ++i) {
                       const int64_t row = number[i];
                       const uint8_t* const block = from + row / kQuantizedRows * layout.bytes();
                       for (int64_t k = 0; k < weight.depth; ++k) {
                         const int q = (block[layout.value(row, k)] >> layout.shift(k) & mask) - zero;
                         const float scale =
                             from_bf16(block + QuantizedLayout::scale(row, k / kQuantizedGroup));
                         to[i * weight.depth + k] = static_cast<float>(q) * scale;
                       }
                     }
                   });
  return out;
}

Matrix take_rows(const Matrix& weight, const at::Tensor& ids) {
  if (weight.quantization == Quantization::none)
    return weight.values.index_select(0, ids.to(weight.values.device()));
  const QuantizedLayout layout = {weight.quantization, weight.depth};
  const int64_t count = ids.numel(), bytes = layout.bytes(), scales = quantized_scale_bytes(weight.depth),
                groups = quantized_groups(weight.depth);
  const at::Tensor rows = ids.contiguous(),
                   blocks = at::zeros({(count + kQuantizedRows - 1) / kQuantizedRows, bytes}, at::kByte);
  const auto* const number = rows.const_data_ptr<int64_t>();
  const auto* const from = weight.values.const_data_ptr<uint8_t>();
  auto* const to = blocks.mutable_data_ptr<uint8_t>();
  at::parallel_for(0, blocks.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * kQuantizedRows; i < std::min(count, end * kQuantizedRows); ++i) {
      const int64_t row = number[i];
      const uint8_t* const old_block = from + row / kQuantizedRows * bytes;
      uint8_t* const block = to + i / kQuantizedRows * bytes;
      for (int64_t g = 0; g < groups; ++g)
        std::memcpy(block + QuantizedLayout::scale(i, g), old_block + QuantizedLayout::scale(row, g), 2);
      constexpr int64_t kTogether = 4;  // bytes of a row in a line
      for (int64_t line = scales; line < bytes; line += kQuantizedRows * kTogether)
        std::memcpy(block + line + i % kQuantizedRows * kTogether,
                    old_block + line + row % kQuantizedRows * kTogether, kTogether);
    }
  });
  return {blocks, weight.quantization, count, weight.depth};
}

at::Tensor dequantize(const Matrix& weight) {
  return select_rows(weight, at::arange(weight.rows, at::kLong));
}

bool has_finite_scales(const Matrix& weight) {
  const int64_t blocks = weight.values.size(0), bytes = weight.values.size(1),
                scales = quantized_groups(weight.depth) * kQuantizedRows;
  const auto* const from = weight.values.const_data_ptr<uint8_t>();
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t i = 0; i < scales; ++i)
      if (!std::isfinite(from_bf16(from + block * bytes + i * 2))) return false;
  return true;
}

}  // namespace chorus::inline kernels
