// The experts of a layer, stacked, over rows that lie sorted by expert.
//
// On the host the work is cut into tasks (a block of one expert's rows; a quarter of one expert's weight
// gradient) that run on one thread each: many small products side by side, where many threads on one small
// product wait for each other. How it is cut depends on the routing alone, so results do not depend on
// threads.
#pragma once

#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/activation.h"
#include "kernels/parameter.h"
#include "kernels/rows.h"

namespace chorus::inline kernels {

/// The weights of an MoE layer.
struct MoeWeights {
  Parameter* router = nullptr;  // [E, d]      fp32 whatever the compute type
  // The part that this rank holds, where they are spread or cut over ranks: some experts, and of each some of
  // its inner values f.
  Parameter* fc1_weight = nullptr;  // [E, f', d]  f' = activation_inputs(f)
  Parameter* fc1_bias = nullptr;    // [E, f']; null, as fc2_bias: the experts have no biases
  Parameter* fc2_weight = nullptr;  // [E, d, f]
  Parameter* fc2_bias = nullptr;    // [E, d]

  /// Marks the gradients w.r.t. fc1 (fc2), weight and bias, as present. Returns whether each expert's must be
  /// overwritten (true) or added to (false).
  [[nodiscard]] bool begin_fc1() const { return begin(fc1_weight, fc1_bias); }
  [[nodiscard]] bool begin_fc2() const { return begin(fc2_weight, fc2_bias); }

 private:
  static bool begin(Parameter* weight, Parameter* bias) {
    if (bias) bias->begin_slices();
    return weight->begin_slices();
  }
};

struct Experts {
  const MoeWeights& weights;
  const ExpertOrder& order;
  Activation activation = Activation::relu;
  double dropout = 0;  // on the activation's output; 0 when evaluating
  // For dropout, a key for each of the rows before sorting, int64, where they lie. A row's mask is drawn from it and
  // the expert's number, so that it does not matter which rank computes the row, and together with which others.
  at::Tensor row_keys;
  int64_t first_expert = 0;  // the number, among all of the layer, of expert 0 here
  // Tensor parallelism: the weights are a part of each expert's inner values, and the outputs are parts of
  // sums.
  int64_t first_inner = 0;  // the number of the first inner value here
  bool adds_bias = true;    // of fc2: true on one of the ranks
  bool by_use = false;      // weights' gradients of experts without rows are nobody's, and may hold anything
};

/// Rows of one expert that a thread works on at a time, at most.
inline constexpr int64_t kExpertTaskRows = 240;

struct ExpertRun {
  at::Tensor kept;    // [M, f or f'] what the activation keeps
  at::Tensor output;  // [M, d]
};

/// input [M, d] of M kept choices.
ExpertRun run_experts(const Experts& experts, const at::Tensor& input);

struct ExpertGradients {
  at::Tensor input;   // [M, d] w.r.t. the experts' inputs
  at::Tensor weight;  // [M] w.r.t. the weight of each row's output in the sum
};

/// Computes the gradients w.r.t. inputs and row weights, and adds those w.r.t. the experts' weights to their buffers.
/// grad: [M, d], w.r.t. the sum that each row's output was part of, with `weight` [M] (fp32; fp64 for fp64 rows).
/// Overwritten: each row becomes weight times itself.
/// Outputs need not have been kept: the gradient w.r.t. a row's weight is the inner product of its hidden values and
/// the gradient w.r.t. these (SonicMoE, 2512.14080). An expert without rows gets zeros where there was no gradient
/// yet; with `by_use` its weights' gradients may be left alone or become anything.
ExpertGradients run_experts_backward(const Experts& experts, const at::Tensor& input, const at::Tensor& kept,
                                     const at::Tensor& grad, const at::Tensor& weight);

}  // namespace chorus::inline kernels
