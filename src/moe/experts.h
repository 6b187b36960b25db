// The experts of a layer, stacked, over rows that lie sorted by expert.
//
// On the CPU the work is cut into tasks (a block of one expert's rows; a quarter of one expert's weight
// gradient) that run on one thread each: many small products side by side, where many threads on one small
// product wait for each other. How it is cut depends on the routing alone, so results do not depend on
// threads.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "chorus/kernels/activation.h"
#include "chorus/kernels/rows.h"
#include "chorus/moe/layer.h"

#include "moe/exchange.h"

namespace chorus {

struct Experts {
  const MoeWeights& weights;
  const ExpertOrder& order;
  Activation activation = Activation::relu;
  double dropout = 0;  // on the activation's output; 0 when evaluating
  // Of it: where the rows come from, in the order of the rows before sorting. The mask of a row is drawn by
  // its place among the rows that its micro-batch sends to its expert, so it does not matter who computes it
  // with what.
  std::vector<Exchange::Source> sources;
  int64_t first_expert = 0;  // the number of expert 0 among all of the layer
};

struct ExpertRun {
  at::Tensor kept;    // [M, f or f'] what the activation keeps
  at::Tensor output;  // [M, d]
};

/// input [M, d] of M kept choices.
ExpertRun run_experts(const Experts& experts, const at::Tensor& input);

/// From the gradient by the experts' outputs to the gradient by their inputs, both [M, d]; adds the weights'
/// gradients. An expert without rows gets zeros where nothing was yet.
at::Tensor run_experts_backward(const Experts& experts, const at::Tensor& input, const at::Tensor& kept,
                                const at::Tensor& grad_output);

}  // namespace chorus
