// What the works with MoE layers share; bench/peers/moe.py has the same.
#pragma once

#include <ATen/core/Tensor.h>

#include "moe/config.h"
#include "moe/statistics.h"
#include "work.h"

namespace chorus::bench {

/// k, capacity (0: dropless), rts, normalize, balance.
MoeConfig moe_config(const Json& options, int64_t experts);

/// E experts out of one: expert e is `expert` times 1 + e / E.
at::Tensor experts_like(const at::Tensor& expert, int64_t experts, at::ScalarType type);

/// The load of the busiest expert over the mean.
double skew_of(const MoeStatistics& layer);

}  // namespace chorus::bench
