// What MoeStatistics are made of, micro-batch by micro-batch.
#pragma once

#include "moe/layer.h"

namespace chorus::inline moe {

/// 1 for tokens, 0 for padding: [N, 1] like the probabilities; undefined when all are tokens.
at::Tensor active_column(const MoeCall& call, const at::Tensor& probabilities);

/// Adds to call.statistics. log_partition: [N] logsumexp of the logits; undefined without z-loss.
void count(const MoeCall& call, const Routing& routing, const at::Tensor& probabilities,
           const at::Tensor& log_partition);

}  // namespace chorus::inline moe
