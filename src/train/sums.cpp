#include "train/internal/sums.h"

#include <array>

#include <ATen/ops/empty.h>

namespace chorus::inline train {

namespace {

std::array<std::span<int64_t>, 6> lists_of(MoeStatistics& layer) {
  return {layer.assigned,
          layer.by_group,
          layer.in_batch.choices,
          layer.in_batch.dropped,
          layer.in_sentence.choices,
          layer.in_sentence.dropped};
}

}  // namespace

void sum_over_ranks(Group& group, std::span<TaskSums> tasks) {
  if (group.size() == 1) return;
  const at::Tensor all = at::empty({static_cast<int64_t>(tasks.size()), 2}, at::kDouble);
  auto* const x = all.mutable_data_ptr<double>();
  for (size_t i = 0; i < tasks.size(); ++i) {
    x[2 * i] = tasks[i].nll;
    x[2 * i + 1] = static_cast<double>(tasks[i].tokens);
  }
  group.all_reduce(all);
  for (size_t i = 0; i < tasks.size(); ++i) tasks[i] = {x[2 * i], static_cast<int64_t>(x[2 * i + 1])};
}

void add_rows(std::span<TaskSums> tasks, const DataSet& data, const MicroBatch& micro_batch,
              const at::Tensor& token_nll) {
  const auto* nll = token_nll.const_data_ptr<float>();
  for (int64_t row = 0; row < micro_batch.rows; ++row) {
    TaskSums& sums = tasks[data.directions()[micro_batch.direction[row]].task];
    for (int64_t i = row * micro_batch.target_length; i < (row + 1) * micro_batch.target_length; ++i) {
      sums.nll += nll[i];
      sums.tokens += micro_batch.target_labels[i] == kPad ? 0 : 1;
    }
  }
}

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
    for (const std::span<int64_t> list : lists_of(layer))
      numbers.insert(numbers.end(), list.begin(), list.end());
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
    for (const std::span<int64_t> list : lists_of(layer)) {
      for (int64_t& x : list) x = static_cast<int64_t>(*next++);
    }
  }
}

}  // namespace chorus::inline train
