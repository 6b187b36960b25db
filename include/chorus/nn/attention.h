// Multi-head attention between projected queries, keys and values.
#pragma once

#include <ATen/core/Tensor.h>

#include "chorus/base/random.h"

namespace chorus {

struct AttentionOptions {
  at::Tensor mask;              // added to the scores, broadcastable to [B, heads, T, S]; undefined: none
  bool causal = false;          // position t sees positions 0..t
  double dropout = 0;           // on the probabilities; 0 when evaluating
  RandomKey key = RandomKey();  // of the dropout
};

/// softmax(q k^T / sqrt(d_head) + mask) v through libtorch's fused kernel; with dropout, composed of plain
/// operators, so that the mask is drawn by key. query [B, heads, T, d_head], key and value [B, heads, S,
/// d_head] -> [B, T, heads d_head]
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionOptions& options);

/// [B, T, n d] -> n tensors [B, heads, T, d / heads]
std::vector<at::Tensor> split_heads(const at::Tensor& projected, int64_t n, int64_t heads);

}  // namespace chorus
