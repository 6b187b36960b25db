#include "moe/internal/counting.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

namespace chorus::inline moe {

void leave_to_count(const MoeCall& call, const Routing& routing, const at::Tensor& probabilities,
                    const at::Tensor& log_partition) {
  const at::Tensor& flags = call.active.flags;
  const at::Tensor active =
      flags.defined() ? flags.to(probabilities.scalar_type()).unsqueeze(1) : at::Tensor();
  const at::Tensor p = active.defined() ? probabilities * active : probabilities;
  at::Tensor squares = at::zeros({1}, p.options());
  if (log_partition.defined()) {
    squares = log_partition.square();
    if (active.defined()) squares = squares * active.squeeze(1);
  }
  const auto sum = [](const at::Tensor& x) { return x.sum().to(at::kDouble).view(1); };
  call.observer.statistics->uncounted.push_back(
      {.choices = at::stack({routing.experts, routing.kept}),
       .sums = at::cat({p.sum(0, false, at::kDouble), sum(p.xlogy(probabilities)), sum(squares)}),
       .groups = call.observer.groups,
       .tokens = routing.tokens,
       .sentence_length = call.sentence_length,
       .group_count = call.observer.group_count});
}

namespace {

/// A call's choices on the host.
struct CountedChoices {
  CountedChoices(const UncountedCall& call, const at::Tensor& on_host)
      : rows(on_host.size(1)),
        k(on_host.size(2)),
        tokens(call.tokens),
        sentence_length(call.sentence_length),
        chosen(on_host.const_data_ptr<int64_t>()),
        kept(chosen + rows * k) {}
  int64_t rows, k, tokens, sentence_length;
  const int64_t *chosen, *kept;
};

void count_by_place(const CountedChoices& c, MoeStatistics& statistics) {
  // Counts rows first .. first + count, by their places among the rows that are tokens.
  const auto add = [&](DropsByPlace& sums, int64_t first, int64_t count, int64_t tokens) {
    for (int64_t row = first, place = 0; row < first + count; ++row) {
      if (c.chosen[row * c.k] < 0) continue;
      const auto tenth = static_cast<size_t>(place++ * DropsByPlace::kTenths / tokens);
      sums.choices[tenth] += c.k;
      sums.dropped[tenth] += std::count(c.kept + row * c.k, c.kept + (row + 1) * c.k, -1);
    }
  };
  add(statistics.in_batch, 0, c.rows, c.tokens);
  const int64_t length = c.sentence_length;
  for (int64_t first = 0; first < c.rows && length > 1; first += length) {
    int64_t tokens = 0;
    for (int64_t row = first; row < first + length; ++row) tokens += c.chosen[row * c.k] < 0 ? 0 : 1;
    add(statistics.in_sentence, first, length, tokens);
  }
}

/// The losses and the entropy, of what the device has summed.
void count_sums(const double* sums, const std::vector<int64_t>& assigned, int64_t tokens, int64_t k,
                MoeStatistics& statistics) {
  const auto experts = static_cast<int64_t>(assigned.size());
  const at::Tensor gradient = balance_loss_gradient(at::tensor(assigned), tokens, k);
  for (int64_t e = 0; e < experts; ++e) {
    statistics.balance_loss += gradient.const_data_ptr<double>()[e] * sums[e];
  }
  statistics.entropy -= sums[experts];
  if (tokens > 0) statistics.z_loss += sums[experts + 1] / static_cast<double>(tokens);
}

void count(const UncountedCall& call, MoeStatistics& statistics) {
  const at::Tensor choices = call.choices.to(at::kCPU), sums = call.sums.to(at::kCPU);
  const CountedChoices c(call, choices);
  const int64_t experts = sums.numel() - 2;
  statistics.assigned.resize(experts, 0);
  statistics.by_group.resize(call.group_count * experts, 0);
  statistics.tokens += c.tokens;
  statistics.choices += c.tokens * c.k;
  ++statistics.micro_batches;
  std::vector<int64_t> assigned(experts);
  const bool grouped = call.group_count > 0 && call.groups.defined();
  const auto* const group = grouped ? call.groups.const_data_ptr<int32_t>() : nullptr;
  for (int64_t slot = 0; slot < c.rows * c.k; ++slot) {
    const int64_t e = c.chosen[slot];
    if (e < 0) continue;
    ++assigned[e];
    if (c.kept[slot] < 0) ++statistics.dropped;
    if (group) ++statistics.by_group[group[slot / c.k] * experts + e];
  }
  for (int64_t e = 0; e < experts; ++e) statistics.assigned[e] += assigned[e];
  count_sums(sums.const_data_ptr<double>(), assigned, c.tokens, c.k, statistics);
  count_by_place(c, statistics);
}

}  // namespace

void count_calls(std::span<MoeStatistics> layers) {
  for (MoeStatistics& layer : layers) {
    for (const UncountedCall& call : layer.uncounted) count(call, layer);
    layer.uncounted.clear();
  }
}

}  // namespace chorus::inline moe
