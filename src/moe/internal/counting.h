// What a call leaves for MoeStatistics.
#pragma once

#include "moe/layer.h"

namespace chorus::inline moe {

/// Adds to the calls that call.observer.statistics have to count. log_partition: [N] logsumexp of the logits; undefined
/// without z-loss.
void leave_to_count(const MoeCall& call, const Routing& routing, const at::Tensor& probabilities,
                    const at::Tensor& log_partition);

}  // namespace chorus::inline moe
