// Multi-head attention between projected queries, keys and values; T5's relative positions.
#pragma once

#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "base/random.h"
#include "kernels/dropout.h"

namespace chorus::inline nn {

struct AttentionOptions {
  at::Tensor mask;              // added to the scores, broadcastable to [B, heads, T, S]; undefined: none.
                                // It may have a gradient
  bool causal = false;          // position t sees positions 0..t; not together with a mask
  std::optional<double> scale;  // of the scores; unset: 1 / sqrt(d_head)
  double dropout = 0;           // on the probabilities; 0 when evaluating
  RandomKey key = RandomKey();  // of the dropout
  SliceOf heads;                // of all heads, those that these are: for the dropout
};

/// softmax(scale q k^T + mask) v through libtorch's fused kernel; with dropout, composed of plain
/// operators, so that the mask is drawn by key. query [B, heads, T, d_head], key and value [B, heads, S,
/// d_head] -> [B, T, heads d_head]
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionOptions& options);

/// [B, T, n d] -> n tensors [B, heads, T, d / heads]
std::vector<at::Tensor> split_heads(const at::Tensor& projected, int64_t n, int64_t heads);

/// How T5 sorts the distance of a key from a query into buckets (1910.10683, section 2.1).
struct RelativePositions {
  int64_t buckets = 32;        // of them half for either direction when `bidirectional`
  int64_t max_distance = 128;  // from here on, the last bucket
  bool bidirectional = true;   // false: keys after the query are all in bucket 0
};

/// Buckets of the keys 0 .. first + queries - 1 for the queries at positions first .. first + queries - 1:
/// int64 [queries, first + queries]. Of the buckets of one direction, half hold one distance each, the others
/// distances up to max_distance in steps that grow exponentially.
at::Tensor relative_buckets(int64_t first, int64_t queries, const RelativePositions& positions);

}  // namespace chorus::inline nn
