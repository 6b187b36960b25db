#include "train/sums.h"

#include <ATen/ops/empty.h>

namespace chorus {

LossSums sum_over_ranks(Group& group, const LossSums& sums) {
  const at::Tensor all = at::empty({4}, at::kDouble);  // counts below 2^53 are exact
  auto* const x = all.mutable_data_ptr<double>();
  x[0] = sums.loss;
  x[1] = sums.nll;
  x[2] = static_cast<double>(sums.tokens);
  x[3] = static_cast<double>(sums.correct);
  group.all_reduce(all);
  return {.loss = x[0],
          .nll = x[1],
          .tokens = static_cast<int64_t>(x[2]),
          .correct = static_cast<int64_t>(x[3]),
          .token_nll = {}};
}

void sum_over_ranks(Group& group, std::span<MoeStatistics> layers, const std::vector<int64_t>& experts,
                    int64_t groups) {
  if (group.size() == 1) return;
  std::vector<double> numbers;
  for (size_t l = 0; l < layers.size(); ++l) {
    MoeStatistics& layer = layers[l];
    layer.assigned.resize(experts[l], 0);
    layer.by_group.resize(experts[l] * groups, 0);
    for (const int64_t x : {layer.tokens, layer.choices, layer.dropped, layer.micro_batches}) {
      numbers.push_back(static_cast<double>(x));
    }
    numbers.insert(numbers.end(), {layer.entropy, layer.balance_loss, layer.z_loss});
    numbers.insert(numbers.end(), layer.assigned.begin(), layer.assigned.end());
    numbers.insert(numbers.end(), layer.by_group.begin(), layer.by_group.end());
  }
  const at::Tensor all = at::empty({static_cast<int64_t>(numbers.size())}, at::kDouble);
  std::ranges::copy(numbers, all.mutable_data_ptr<double>());
  group.all_reduce(all);
  const double* next = all.const_data_ptr<double>();
  for (MoeStatistics& layer : layers) {
    for (int64_t* x : {&layer.tokens, &layer.choices, &layer.dropped, &layer.micro_batches}) {
      *x = static_cast<int64_t>(*next++);
    }
    for (double* x : {&layer.entropy, &layer.balance_loss, &layer.z_loss}) {
      *x = *next++;
    }
    for (std::vector<int64_t>* list : {&layer.assigned, &layer.by_group}) {
      for (int64_t& x : *list) {
        x = static_cast<int64_t>(*next++);
      }
    }
  }
}

}  // namespace chorus
