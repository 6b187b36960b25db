#include "nn/attention.h"

#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/take.h>
#include <ATen/ops/where.h>

#include "kernels/device.h"
#include "nn/functions.h"

namespace chorus::inline nn {

namespace {

at::Tensor composed(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                    const AttentionOptions& o) {
  const double scale = o.scale.value_or(1 / std::sqrt(static_cast<double>(query.size(-1))));
  at::Tensor scores = at::matmul(query * scale, key.transpose(-2, -1));
  if (o.causal) {
    const at::Tensor lowest =
        at::full({query.size(2), key.size(2)}, -std::numeric_limits<double>::infinity(), scores.options());
    scores = scores + lowest.triu(1);
  }
  if (o.mask.defined()) {
    scores = scores + o.mask;
  }
  const at::Tensor probabilities = at::softmax(scores, -1);
  return at::matmul(dropout(probabilities, o.dropout, o.key, o.heads), value);
}

}  // namespace

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionOptions& o) {
  if (const at::ScalarType type = attention_type(query); type != query.scalar_type()) {
    AttentionOptions wide = o;
    if (o.mask.defined()) wide.mask = o.mask.to(type);
    return attention(query.to(type), key.to(type), value.to(type), wide).to(query.scalar_type());
  }
  std::optional<at::Tensor> mask;
  if (o.mask.defined()) mask = o.mask;
  const at::Tensor context =
      o.dropout > 0 ? composed(query, key, value, o)
                    : at::scaled_dot_product_attention(query, key, value, mask, 0.0, o.causal, o.scale);
  return context.transpose(1, 2).flatten(2);
}

at::Tensor relative_buckets(int64_t first, int64_t queries, const RelativePositions& p) {
  const int64_t keys = first + queries, buckets = p.bidirectional ? p.buckets / 2 : p.buckets;
  const int64_t exact = buckets / 2;
  // In the operators of T5's own computation, so that distances at a border round the same way.
  // Whole vectors: what is left of the last one rounds otherwise, and a distance has one bucket whatever there is
  // behind it.
  constexpr int64_t kWhole = 64;
  const at::Tensor distance = at::arange((keys + kWhole - 1) / kWhole * kWhole, at::kLong);
  const double steps = std::log(static_cast<double>(p.max_distance) / static_cast<double>(exact));
  const at::Tensor growing =
      (at::log(distance.clamp_min(1).to(at::kFloat) / exact) / steps * (buckets - exact)).to(at::kLong) +
      exact;
  const at::Tensor of_distance = at::where(distance < exact, distance, growing.clamp_max(buckets - 1));

  const at::Tensor relative = at::arange(keys, at::kLong) - at::arange(first, keys, at::kLong).unsqueeze(1);
  at::Tensor behind = at::take(of_distance, relative.neg().clamp_min(0));
  if (!p.bidirectional) return behind;
  return at::where(relative > 0, at::take(of_distance, relative.clamp_min(0)) + buckets, behind);
}

std::vector<at::Tensor> split_heads(const at::Tensor& projected, int64_t n, int64_t heads) {
  const int64_t width = projected.size(-1) / n / heads;
  const at::Tensor parts = projected.view({projected.size(0), projected.size(1), n, heads, width});
  if (n == 1) return {parts.squeeze(2).transpose(1, 2)};
  std::vector<at::Tensor> split = parts.unbind(2);
  for (at::Tensor& part : split) {
    part = part.transpose(1, 2);
  }
  return split;
}

}  // namespace chorus::inline nn
