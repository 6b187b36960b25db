// The MoE layer (moe/layer.h) when evaluating on the CPU without capacity: fp32 rows, and only the experts
// that tokens chose are read, from memory or (moe/expert_source.h) from wherever they lie.
#pragma once

#include "moe/expert_source.h"
#include "moe/layer.h"

namespace chorus::inline moe {

/// moe_layer(hidden) + residual, both fp32 [n, d], contiguous, where no token is dropped or padding. Weights
/// are fp32, bf16 or quantized; those of the experts are borrowed from `source`, as of `block`, unless it is null.
/// -> fp32 [n, d]
at::Tensor moe_rows(const at::Tensor& hidden, const at::Tensor& residual, const MoeWeights& weights,
                    const MoeConfig& config, Activation activation, ExpertSource* source = nullptr,
                    size_t block = 0);

}  // namespace chorus::inline moe
