#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/index_fill.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/topk.h>
#include <ATen/ops/where.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/composed.h"

namespace chorus::inline kernels {

namespace {

at::Tensor on_device(const std::vector<int64_t>& values, const at::Tensor& like) {
  at::Tensor tensor = at::empty({std::ssize(values)}, at::kLong);
  std::ranges::copy(values, tensor.mutable_data_ptr<int64_t>());
  return tensor.to(like.device());
}

/// The places of single rows' tokens in logits [rows, V] that are seen as one row.
at::Tensor places(const RowTokens& pairs, const at::Tensor& logits) {
  return on_device(pairs.rows, logits) * logits.size(1) + on_device(pairs.tokens, logits);
}

void penalise(const at::Tensor& logits, const at::Tensor& total, const Penalty& penalty) {
  const at::Tensor flat = logits.view(-1), place = places(penalty.on, logits),
                   old = flat.index_select(0, place);
  const at::Tensor zero = total.view(-1).index_select(0, on_device(penalty.on.rows, logits));
  flat.index_copy_(0, place,
                   penalty.of_logits ? at::where(old < 0, old * penalty.factor, old / penalty.factor)
                                     : zero + (old - zero) * penalty.factor);
}

}  // namespace

BestTokens Backend::best_tokens(const at::Tensor& logits, const std::vector<int32_t>& never,
                                const RowTokens& banned, int64_t k, const Penalty& penalty) const {
  constexpr double kImpossible = -std::numeric_limits<double>::infinity();
  const at::Tensor total = at::logsumexp(logits, {1}, true);
  if (!penalty.on.rows.empty()) penalise(logits, total, penalty);
  if (!never.empty()) logits.index_fill_(1, on_device({never.begin(), never.end()}, logits), kImpossible);
  if (!banned.rows.empty()) logits.view(-1).index_fill_(0, places(banned, logits), kImpossible);
  const at::Tensor tokens = std::get<1>(at::topk(ranking(logits), k, 1));
  return {tokens.to(at::kCPU).contiguous(), (logits.gather(1, tokens) - total).to(at::kCPU).contiguous()};
}

}  // namespace chorus::inline kernels
