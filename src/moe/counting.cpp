#include "moe/internal/counting.h"

#include <algorithm>

#include <ATen/TensorOperators.h>

namespace chorus::inline moe {

at::Tensor active_column(const MoeCall& call, const at::Tensor& probabilities) {
  return call.active.defined() ? call.active.to(probabilities.options()).unsqueeze(1) : at::Tensor();
}

namespace {

void count_by_place(const MoeCall& call, const Routing& routing, MoeStatistics& statistics) {
  const int64_t rows = routing.experts.size(0), k = routing.experts.size(1);
  const auto* chosen = routing.experts.const_data_ptr<int64_t>();
  const auto* kept = routing.kept.const_data_ptr<int64_t>();
  // Counts rows first .. first + count, by their places among the rows that are tokens.
  const auto add = [&](DropsByPlace& sums, int64_t first, int64_t count, int64_t tokens) {
    for (int64_t row = first, place = 0; row < first + count; ++row) {
      if (chosen[row * k] < 0) continue;
      const auto tenth = static_cast<size_t>(place++ * DropsByPlace::kTenths / tokens);
      sums.choices[tenth] += k;
      sums.dropped[tenth] += std::count(kept + row * k, kept + (row + 1) * k, -1);
    }
  };
  add(statistics.in_batch, 0, rows, routing.tokens);
  const int64_t length = call.sentence_length;
  for (int64_t first = 0; first < rows && length > 1; first += length) {
    int64_t tokens = 0;
    for (int64_t row = first; row < first + length; ++row) tokens += chosen[row * k] < 0 ? 0 : 1;
    add(statistics.in_sentence, first, length, tokens);
  }
}

}  // namespace

void count(const MoeCall& call, const Routing& routing, const at::Tensor& probabilities,
           const at::Tensor& log_partition) {
  MoeStatistics& statistics = *call.observer.statistics;
  const int64_t rows = routing.experts.size(0), k = routing.experts.size(1);
  const auto experts = static_cast<int64_t>(routing.assigned.size());
  statistics.assigned.resize(experts, 0);
  statistics.by_group.resize(call.observer.group_count * experts, 0);
  statistics.tokens += routing.tokens;
  statistics.choices += routing.tokens * k;
  statistics.dropped += routing.dropped;
  ++statistics.micro_batches;
  for (int64_t e = 0; e < experts; ++e) {
    statistics.assigned[e] += routing.assigned[e];
  }
  const at::Tensor active = active_column(call, probabilities);
  const at::Tensor p = active.defined() ? probabilities * active : probabilities;
  statistics.entropy -= p.xlogy(probabilities).sum().item<double>();
  const at::Tensor mass = p.sum(0, false, at::kDouble).cpu();
  const std::vector<double> gradient = balance_loss_gradient(routing);
  for (int64_t e = 0; e < experts; ++e) {
    statistics.balance_loss += gradient[e] * mass[e].item<double>();
  }
  if (log_partition.defined() && routing.tokens > 0) {
    const at::Tensor squares = log_partition.square();
    const at::Tensor sum = active.defined() ? (squares * active.squeeze(1)).sum() : squares.sum();
    statistics.z_loss += sum.item<double>() / static_cast<double>(routing.tokens);
  }
  count_by_place(call, routing, statistics);
  if (call.observer.groups.defined()) {
    const auto* group = call.observer.groups.const_data_ptr<int32_t>();
    const auto* chosen = routing.experts.const_data_ptr<int64_t>();
    for (int64_t slot = 0; slot < rows * k; ++slot) {
      if (chosen[slot] >= 0) {
        ++statistics.by_group[group[slot / k] * experts + chosen[slot]];
      }
    }
  }
}

}  // namespace chorus::inline moe
