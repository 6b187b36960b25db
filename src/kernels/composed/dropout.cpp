#include "kernels/dropout.h"

#include <ATen/TensorOperators.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/composed.h"
#include "kernels/internal/drawing.h"

namespace chorus::inline kernels {

namespace {

constexpr int64_t kHalves = 64;  // elements of a block, each of which takes sixteen bits
constexpr int64_t kCountersOfBlock = 8;

/// Returns the sixteen bits of elements 0 .. count - 1 of each key, as the host draws them (kernels/cpu/dropout.cpp):
/// int64 [keys, count].
at::Tensor random_halves(const at::Tensor& keys, int64_t count) {
  const int64_t blocks = (count + kHalves - 1) / kHalves, rows = keys.numel();
  const auto words = philox_words(keys.view({-1, 1}), at::arange(blocks * kCountersOfBlock, keys.options()),
                                  RandomKey::kDraw);
  // [keys, blocks, word, half, counter]: what block of eight counters an element belongs to, and where in it.
  const at::Tensor by_word = at::stack(words, 2).view({rows, blocks, kCountersOfBlock, 4}).transpose(2, 3);
  const at::Tensor halves = at::stack({by_word.bitwise_and(0xFFFF), by_word.bitwise_right_shift(16)}, 3);
  return halves.reshape({rows, blocks * kHalves}).narrow(1, 0, count);
}

/// Returns the sixteen bits of the elements of `input`, whose numbers are those they have in the larger tensor.
at::Tensor random_halves(const at::Tensor& input, RandomKey key, const SliceOf& slice) {
  const int64_t dimension = at::maybe_wrap_dim(slice.dimension, std::max<int64_t>(1, input.dim()));
  std::vector<int64_t> sizes = input.sizes().vec();
  if (slice.total > 0) sizes[dimension] = slice.total;
  const at::Tensor all =
      random_halves(key_on_device(key, input.device()), c10::multiply_integers(sizes)).view(sizes);
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

at::Tensor Backend::dropout_rows(const at::Tensor& rows, double p, const at::Tensor& keys,
                                 int64_t first) const {
  const at::Tensor halves = random_halves(keys, first + rows.size(1));
  return dropped(rows, p, halves.narrow(1, first, rows.size(1)));
}

at::Tensor Backend::jitter(const at::Tensor& input, double epsilon, RandomKey key) const {
  const auto low = static_cast<float>(1 - epsilon), step = static_cast<float>(epsilon / 32768);
  const at::Tensor factor = random_halves(input, key, {}).to(at::kFloat).mul_(step).add_(low);
  return (input.to(sum_type(input)) * factor).to(input.scalar_type());
}

}  // namespace chorus::inline kernels
