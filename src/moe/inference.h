// The MoE layer (moe/layer.h) when evaluating on the CPU without capacity: fp32 rows, and only the experts
// that tokens chose are read.
#pragma once

#include "moe/layer.h"

namespace chorus::inline moe {

/// moe_layer(hidden) + residual, both fp32 [n, d], contiguous, where no token is dropped or padding. Weights
/// are fp32 or bf16. -> fp32 [n, d]
at::Tensor moe_rows(const at::Tensor& hidden, const at::Tensor& residual, const MoeWeights& weights,
                    const MoeConfig& config, Activation activation);

}  // namespace chorus::inline moe
