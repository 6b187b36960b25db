// What each rank counted, put together.
#pragma once

#include <span>

#include "chorus/comm/group.h"
#include "chorus/model/transformer.h"

namespace chorus {

/// LossSums::token_nll is left out.
LossSums sum_over_ranks(Group& group, const LossSums& sums);

/// In place; `groups`: languages. A rank that counted nothing yet may have empty lists.
void sum_over_ranks(Group& group, std::span<MoeStatistics> layers, int64_t experts, int64_t groups);

/// The largest of the ranks' numbers.
int64_t most_of_ranks(Group& group, int64_t number);

}  // namespace chorus
