#include "kernels/decoding.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/fused.h"

namespace chorus::inline kernels {

namespace {

using Eight = Floats<32>;
constexpr int64_t kEight = 8;

template <class Body>
void run_fused(const Body& body) {
  if (cpu_isa() != Isa::plain) {
    run_fused_avx512(body);
    return;
  }
  run_fused_plain(body);
}

int64_t grain(int64_t elements) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, elements));
}

at::Tensor as_float(const at::Tensor& x) {
  return x.to(at::kFloat).contiguous();
}

constexpr int64_t kPair = 2 * kEight;

/// Loads 16 neighbouring elements: of fp32 in their order; of bf16 first those at even places, then those at odd
/// ones, which a shift and a mask make fp32.
CHORUS_INLINE inline void load_pair(const float* from, Eight (&to)[2]) {
  load(from, to[0]);  // one by one: g++ 12 copies both together by way of memory
  load(from + kEight, to[1]);
}
CHORUS_INLINE inline void load_pair(const c10::BFloat16* from, Eight (&to)[2]) {
  using Words __attribute__((vector_size(sizeof(Eight)))) = uint32_t;
  Words words;
  std::memcpy(&words, from, sizeof words);
  to[0] = reinterpret_cast<Eight>(words << 16);
  to[1] = reinterpret_cast<Eight>(words & 0xFFFF0000U);
}
/// Stores what load_pair() loaded in its places.
template <class T>
CHORUS_INLINE inline void store_pair(const Eight (&from)[2], float* to) {
  float lanes[kPair];
  std::memcpy(&lanes, &from, sizeof lanes);
  for (int64_t i = 0; i < kPair; ++i) to[i] = lanes[std::is_same_v<T, float> ? i : i % 2 * kEight + i / 2];
}
/// Returns x, with whole pairs in the order of load_pair(). `room`: n floats.
template <class T>
CHORUS_INLINE inline const float* in_pairs(const float* x, int64_t n, float* room) {
  if constexpr (std::is_same_v<T, float>) return x;
  int64_t first = 0;
  for (; first + kPair <= n; first += kPair)
    for (int64_t i = 0; i < kPair; ++i) room[first + i % 2 * kEight + i / 2] = x[first + i];
  std::copy(x + first, x + n, room + first);
  return room;
}

/// a: in_pairs().
template <class T>
CHORUS_INLINE inline float dot(const float* a, const T* b, int64_t n) {
  Eight sum[2] = {}, x[2], y[2];
  int64_t i = 0;
  for (; i + kPair <= n; i += kPair) {
    load_pair(a + i, x);
    load_pair(b + i, y);
    sum[0] += x[0] * y[0];
    sum[1] += x[1] * y[1];
  }
  float total = sum_of(sum[0] + sum[1]);
  for (; i < n; ++i) total += a[i] * widen(b[i]);
  return total;
}

/// out = sum_j weight[j] row j of `values`, kPairs pairs of it.
template <int64_t kPairs, class T>
CHORUS_INLINE inline void weighted_sum(const T* values, int64_t stride, const int32_t* slots,
                                       const float* weight, int64_t count, float* out) {
  Eight sum[kPairs][2] = {}, x[2];
  for (int64_t j = 0; j < count; ++j) {
    const T* const from = values + slots[j] * stride;
    CHORUS_UNROLL
    for (int64_t pair = 0; pair < kPairs; ++pair) {
      load_pair(from + pair * kPair, x);
      sum[pair][0] += x[0] * weight[j];
      sum[pair][1] += x[1] * weight[j];
    }
  }
  CHORUS_UNROLL
  for (int64_t pair = 0; pair < kPairs; ++pair) store_pair<T>(sum[pair], out + pair * kPair);
}

/// weight = softmax(weight), n of them.
CHORUS_INLINE inline void softmax(float* weight, int64_t n) {
  float most = weight[0];
  for (int64_t j = 1; j < n; ++j) most = weight[j] > most ? weight[j] : most;
  for (int64_t j = 0; j < n; ++j) weight[j] = exponential(weight[j] - most);
  float sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += weight[j];
  for (int64_t j = 0; j < n; ++j) weight[j] /= sum;
}

template <class T>
struct Attended {
  const T *keys, *values;
  int64_t key_stride, value_stride, width;  // width: of a head
  float scale;
  const float* bias;  // [heads, bias_queries, bias_stride]; null: none
  int64_t bias_queries, bias_stride;
};

/// One head of the index-th query of a group; `weight` has room for one number per slot, `room` for the query.
template <class T>
CHORUS_INLINE inline void attend(const Attended<T>& a, const float* query, int64_t index, int64_t head,
                                 const std::vector<int32_t>& slots, float* weight, float* room, float* out) {
  const int64_t first = head * a.width;
  const float* const q = in_pairs<T>(query + first, a.width, room);
  const auto count = static_cast<int64_t>(slots.size());
  for (int64_t j = 0; j < count; ++j)
    weight[j] = a.scale * dot(q, a.keys + slots[j] * a.key_stride + first, a.width);
  if (a.bias) {
    const float* const bias = a.bias + (head * a.bias_queries + index % a.bias_queries) * a.bias_stride;
    for (int64_t j = 0; j < count; ++j) weight[j] += bias[j];
  }
  softmax(weight, count);
  int64_t i = 0;
  const T* const values = a.values + first;
  for (; i + 2 * kPair <= a.width; i += 2 * kPair)
    weighted_sum<2>(values + i, a.value_stride, slots.data(), weight, count, out + first + i);
  for (; i + kPair <= a.width; i += kPair)
    weighted_sum<1>(values + i, a.value_stride, slots.data(), weight, count, out + first + i);
  for (; i < a.width; ++i) {
    float sum = 0;
    for (int64_t j = 0; j < count; ++j) sum += weight[j] * widen(values[slots[j] * a.value_stride + i]);
    out[first + i] = sum;
  }
}

constexpr int64_t kLogitBlock = 64;  // logits of a block; by its greatest, most blocks are left out

/// The greatest of each block of a row, and of the row.
CHORUS_INLINE inline float block_maxima(const float* x, int64_t n, float* maxima) {
  float row = -std::numeric_limits<float>::infinity();
  for (int64_t first = 0; first < n; first += kLogitBlock) {
    const int64_t last = std::min(n, first + kLogitBlock);
    float most = -std::numeric_limits<float>::infinity();
    if (last - first == kLogitBlock) {
      float lanes[kEight];
      std::copy_n(x + first, kEight, lanes);
      for (int64_t i = kEight; i < kLogitBlock; i += kEight)
        for (int64_t lane = 0; lane < kEight; ++lane)
          lanes[lane] = x[first + i + lane] > lanes[lane] ? x[first + i + lane] : lanes[lane];
      for (const float lane : lanes) most = lane > most ? lane : most;
    } else {
      for (int64_t i = first; i < last; ++i) most = x[i] > most ? x[i] : most;
    }
    maxima[first / kLogitBlock] = most;
    row = most > row ? most : row;
  }
  return row;
}

CHORUS_INLINE inline double sum_of_exponentials(const float* x, int64_t n, float most) {
  constexpr int64_t kAtOnce = 64;
  float lanes[kAtOnce] = {};
  int64_t i = 0;
  for (; i + kAtOnce <= n; i += kAtOnce)
    for (int64_t lane = 0; lane < kAtOnce; ++lane) lanes[lane] += exponential(x[i + lane] - most);
  double sum = 0;
  for (; i < n; ++i) sum += exponential(x[i] - most);
  for (const float lane : lanes) sum += lane;
  return sum;
}

/// The k greatest of x, best first, into `tokens` and `values`; `maxima` are bounds of its blocks. By a heap: what
/// enters costs log k.
void greatest_of_many(const float* x, int64_t n, const float* maxima, int64_t k, int64_t* tokens,
                      float* values) {
  using Entry = std::pair<float, int64_t>;  // value, token
  const auto better = [](const Entry& a, const Entry& b) {
    return a.first > b.first || (a.first == b.first && a.second < b.second);
  };
  std::vector<Entry> heap;  // the worst of them first
  heap.reserve(k);
  for (int64_t first = 0; first < n; first += kLogitBlock) {
    if (std::ssize(heap) == k && !(maxima[first / kLogitBlock] > heap.front().first)) continue;
    for (int64_t i = first; i < std::min(n, first + kLogitBlock); ++i) {
      if (std::ssize(heap) < k) {
        heap.emplace_back(x[i], i);
        std::ranges::push_heap(heap, better);
      } else if (x[i] > heap.front().first) {
        std::ranges::pop_heap(heap, better);
        heap.back() = {x[i], i};
        std::ranges::push_heap(heap, better);
      }
    }
  }
  std::ranges::sort_heap(heap, better);
  for (size_t i = 0; i < heap.size(); ++i) std::tie(values[i], tokens[i]) = heap[i];
}

/// The same by insertion, where k is small.
void greatest(const float* x, int64_t n, const float* maxima, int64_t k, int64_t* tokens, float* values) {
  constexpr int64_t kFew = 32;
  if (k > kFew) return greatest_of_many(x, n, maxima, k, tokens, values);
  int64_t found = 0;
  for (int64_t first = 0; first < n; first += kLogitBlock) {
    if (found == k && !(maxima[first / kLogitBlock] > values[k - 1])) continue;
    for (int64_t i = first; i < std::min(n, first + kLogitBlock); ++i) {
      if (found == k && !(x[i] > values[k - 1])) continue;
      int64_t place = found < k ? found++ : k - 1;
      for (; place > 0 && x[i] > values[place - 1]; --place) {
        values[place] = values[place - 1];
        tokens[place] = tokens[place - 1];
      }
      values[place] = x[i];
      tokens[place] = i;
    }
  }
}

/// The tokens of each row.
std::vector<std::vector<int64_t>> by_row(const RowTokens& pairs, int64_t rows) {
  std::vector<std::vector<int64_t>> tokens(rows);
  for (size_t i = 0; i < pairs.rows.size(); ++i) tokens[pairs.rows[i]].push_back(pairs.tokens[i]);
  return tokens;
}

/// A logit of a row whose log-probabilities are its logits less `total`.
float penalised(float logit, const Penalty& penalty, float total) {
  const auto factor = static_cast<float>(penalty.factor);
  if (!penalty.of_logits) return total + (logit - total) * factor;
  return logit < 0 ? logit * factor : logit / factor;
}

}  // namespace

at::Tensor embed_rows(const at::Tensor& ids, const Matrix& weight, double scale,
                      const at::Tensor& positions) {
  const bool quantized = weight.quantization != Quantization::none;
  const at::Tensor table = quantized ? select_rows(weight, ids) : weight.values;
  const int64_t n = ids.size(0), width = weight.depth, length = positions.size(0);
  const at::Tensor shift = as_float(positions);
  at::Tensor out = at::empty({n, width}, at::kFloat);
  const auto* const id = ids.const_data_ptr<int64_t>();
  auto* const to = out.mutable_data_ptr<float>();
  const auto factor = static_cast<float>(scale);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, table.scalar_type(), "embed_rows", [&] {
    for (int64_t row = 0; row < n; ++row) {
      const auto* const from = table.const_data_ptr<scalar_t>() + (quantized ? row : id[row]) * width;
      const auto* const add = shift.const_data_ptr<float>() + row % length * width;
      for (int64_t i = 0; i < width; ++i)
        to[row * width + i] = std::fma(static_cast<float>(widen(from[i])), factor, add[i]);
    }
  });
  return out;
}

at::Tensor attend_rows(const at::Tensor& query, const at::Tensor& keys, const at::Tensor& values,
                       const std::vector<std::vector<int32_t>>& seen, int64_t heads,
                       const RowScores& options) {
  const int64_t n = query.size(0), width = query.size(1);
  at::Tensor out = at::empty({n, width}, query.options());
  const auto* const q = query.const_data_ptr<float>();
  const int64_t query_stride = query.stride(0), group = n / std::ssize(seen);
  auto* const to = out.mutable_data_ptr<float>();
  const int64_t head_width = width / heads;
  const float usual_scale = 1 / std::sqrt(static_cast<float>(head_width));
  const auto run = [&]<class T>() {
    const Attended<T> a = {.keys = keys.const_data_ptr<T>(),
                           .values = values.const_data_ptr<T>(),
                           .key_stride = keys.stride(0),
                           .value_stride = values.stride(0),
                           .width = head_width,
                           .scale = options.scale ? static_cast<float>(*options.scale) : usual_scale,
                           .bias = options.bias.defined() ? options.bias.const_data_ptr<float>() : nullptr,
                           .bias_queries = options.bias.defined() ? options.bias.size(1) : 0,
                           .bias_stride = options.bias.defined() ? options.bias.size(2) : 0};
    at::parallel_for(0, n, grain(2 * width * std::ssize(seen.front())), [&](int64_t begin, int64_t end) {
      std::vector<float> weight, room(a.width);
      for (int64_t row = begin; row < end; ++row) {
        const std::vector<int32_t>& slots = seen[row / group];
        weight.resize(slots.size());
        run_fused([&]() CHORUS_INLINE {
          for (int64_t head = 0; head < heads; ++head)
            attend(a, q + row * query_stride, row % group, head, slots, weight.data(), room.data(),
                   to + row * width);
        });
      }
    });
  };
  keys.scalar_type() == at::kBFloat16 ? run.operator()<c10::BFloat16>() : run.operator()<float>();
  return out;
}

at::Tensor activate_rows(Activation activation, const at::Tensor& input) {
  if (activation == Activation::relu) return activate(activation, input);
  const int64_t rows = input.size(0), width = is_gated(activation) ? input.size(1) / 2 : input.size(1);
  at::Tensor out = at::empty({rows, width}, input.options());
  // What is left of libtorch's last whole vector is rounded otherwise, so that its loops must end with a row. Those
  // over halves of rows do.
  constexpr int64_t kWhole = 64;
  const bool alone = !is_gated(activation) && width % kWhole != 0;
  at::parallel_for(0, rows, grain(kEight * width), [&](int64_t begin, int64_t end) {
    const int64_t step = alone ? 1 : end - begin;
    for (int64_t row = begin; row < end; row += step)
      out.narrow(0, row, step).copy_(activate(activation, input.narrow(0, row, step)));
  });
  return out;
}

BestTokens HostBackend::best_tokens(const at::Tensor& logits, const std::vector<int32_t>& never,
                                    const RowTokens& banned, int64_t k, const Penalty& penalty) const {
  const int64_t rows = logits.size(0), n = logits.size(1);
  const std::vector<std::vector<int64_t>> banned_of = by_row(banned, rows),
                                          penalised_of = by_row(penalty.on, rows);
  BestTokens best = {at::empty({rows, k}, at::kLong), at::empty({rows, k}, at::kFloat)};
  auto* const x = logits.mutable_data_ptr<float>();
  auto* const tokens = best.tokens.mutable_data_ptr<int64_t>();
  auto* const values = best.log_probabilities.mutable_data_ptr<float>();
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> maxima((n + kLogitBlock - 1) / kLogitBlock);
    for (int64_t row = begin; row < end; ++row) {
      float* const from = x + row * n;
      float most = 0;
      double sum = 0;
      run_kernel([&]() CHORUS_INLINE {
        most = block_maxima(from, n, maxima.data());
        sum = sum_of_exponentials(from, n, most);
      });
      const auto total = static_cast<float>(most + std::log(sum));
      for (const int64_t token : penalised_of[row]) {
        from[token] = penalised(from[token], penalty, total);
        maxima[token / kLogitBlock] = std::max(maxima[token / kLogitBlock], from[token]);
      }
      constexpr float kImpossible = -std::numeric_limits<float>::infinity();
      for (const int32_t token : never) from[token] = kImpossible;
      for (const int64_t token : banned_of[row]) from[token] = kImpossible;
      greatest(from, n, maxima.data(), k, tokens + row * k, values + row * k);
      for (int64_t j = row * k; j < (row + 1) * k; ++j) values[j] -= total;
    }
  });
  return best;
}

}  // namespace chorus::inline kernels
