// What each rank counted, added up over all.
#pragma once

#include <span>

#include "chorus/comm/group.h"
#include "chorus/model/transformer.h"

namespace chorus {

/// LossSums::token_nll is left out.
LossSums sum_over_ranks(Group& group, const LossSums& sums);

/// In place; `experts` of each layer; `groups`: languages. A rank that counted nothing yet may have empty
/// lists.
void sum_over_ranks(Group& group, std::span<MoeStatistics> layers, const std::vector<int64_t>& experts,
                    int64_t groups);

}  // namespace chorus
