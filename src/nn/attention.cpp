#include "chorus/nn/attention.h"

#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/softmax.h>

#include "chorus/kernels/cpu.h"
#include "chorus/nn/functions.h"

namespace chorus {

namespace {

at::Tensor composed(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                    const AttentionOptions& o) {
  const double scale = 1 / std::sqrt(static_cast<double>(query.size(-1)));
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
  return at::matmul(dropout(probabilities, o.dropout, o.key), value);
}

}  // namespace

at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const AttentionOptions& o) {
  if (query.scalar_type() == at::kBFloat16 && query.is_cpu() && cpu_isa() == Isa::plain) {
    // Without bf16 arithmetic libtorch's kernels are some fifty times slower in bf16 than in fp32.
    AttentionOptions wide = o;
    if (o.mask.defined()) wide.mask = o.mask.to(at::kFloat);
    return attention(query.to(at::kFloat), key.to(at::kFloat), value.to(at::kFloat), wide).to(at::kBFloat16);
  }
  std::optional<at::Tensor> mask;
  if (o.mask.defined()) mask = o.mask;
  const at::Tensor context = o.dropout > 0
                                 ? composed(query, key, value, o)
                                 : at::scaled_dot_product_attention(query, key, value, mask, 0.0, o.causal);
  return context.transpose(1, 2).flatten(2);
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

}  // namespace chorus
