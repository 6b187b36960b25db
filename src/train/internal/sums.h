// What each rank counted, put together.
#pragma once

#include <span>

#include "comm/group.h"
#include "data/dataset.h"
#include "model/transformer.h"

namespace chorus::inline train {

/// Sums over one task's target tokens.
struct TaskSums {
  double nll = 0;  // in nats
  int64_t tokens = 0;
};
void sum_over_ranks(Group& group, std::span<TaskSums> tasks);
/// Adds each row of a micro-batch of `data` to its task. token_nll: fp32 [rows, T].
void add_rows(std::span<TaskSums> tasks, const DataSet& data, const MicroBatch& micro_batch,
              const at::Tensor& token_nll);

/// Returns the sums over the ranks, without LossSums::token_nll.
LossSums sum_over_ranks(Group& group, const LossSums& sums);

/// Sums over the ranks, in place. `experts`: of each layer; `groups`: languages. A rank that counted nothing yet may
/// have empty lists.
void sum_over_ranks(Group& group, std::span<MoeStatistics> layers, const std::vector<int64_t>& experts,
                    int64_t groups);

}  // namespace chorus::inline train
