// The mixture-of-experts feed-forward layer: router, dispatch, experts, combine; one differentiable function.
//
//   logits = x_jittered W_r^T (fp32)                 [N, E]
//   route: top-k, capacity, drops                    see kernels/routing.h
//   sort the kept choices by expert (stable)         rows of an expert lie together: no padding to capacity,
//                                                    no one-hot
//   y_e = fc2_e(act(fc1_e(x_e)))                     one GEMM pair per expert, on exactly the rows it got
//   out_t = sum_j gate_tj y_(t,j)                    a token whose choices were all dropped gets zero: the
//                                                    residual carries it
#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/activation.h"
#include "kernels/experts.h"
#include "moe/config.h"
#include "moe/statistics.h"
#include "parallel/mesh.h"

namespace chorus::inline moe {

/// Where a rank would get more than so many times the rows that it has to expect, tokens are exchanged and
/// computed in chunks, of which nothing is kept: a rank's memory is bounded, however tokens are routed.
inline constexpr int64_t kCrowd = 2;

/// What a call decided.
struct RoutingRecord {
  at::Tensor probabilities;  // [N, E]
  Routing routing;
  at::Tensor input = {}, output = {};  // [N, d] of the layer, without the residual
};

/// What is to be recorded of a call, and where.
struct MoeObserver {
  at::Tensor groups;        // int32 [N] on the host: the language of each token; undefined: not counted
  int64_t group_count = 0;  // G
  MoeStatistics* statistics = nullptr;  // null: nothing is counted
  RoutingRecord* record = nullptr;      // null: nothing is kept
};

/// What a call needs beyond weights: it does not outlive the call, except that `statistics` and `record` are
/// written.
struct MoeCall {
  // The ranks that compute the layer together: each calls moe_layer() at the same time, with its part of the
  // expert weights (ep, etp), and with the tokens of its micro-batch, or none; those of tp have the same
  // micro-batch. Null: this process alone.
  Parallel* parallel = nullptr;
  bool training = false;
  bool dropless = false;        // no capacity factor binds, whatever the configuration says
  int64_t sentence_length = 1;  // rows of a sentence, of which N is a multiple: see moe.sentence_capacity
  RandomKey key = RandomKey();  // of this layer in this micro-batch
  Activation activation = Activation::relu;
  double activation_dropout = 0;  // inside the experts, in training
  int64_t inner_width = 0;        // f of a whole expert, where experts are cut
  double auxiliary_scale = 1;  // scales the gradient of the auxiliary losses (1 / micro-batches of the step)
  ActiveRows active = {};      // of the N rows
  MoeObserver observer = {};
  // Called before the experts run, and in backward before they run back, perhaps several times, with the
  // number of rows that each expert here gets: the weights of experts without rows need not be there. True:
  // nor are their gradients to be written (zeros otherwise). Null: all weights are there. It outlives the
  // call until backward.
  std::function<bool(const std::vector<int64_t>& rows, bool backward)> before_experts;
};

/// Computes the layer: hidden [N, d] -> [N, d], without the residual.
/// hidden: contiguous, fp32, bf16 or fp64; the experts' weights are of its type, or quantized (host, not training).
/// The result can run backward, once, only if call.training. Backward adds the gradients of the weights to the
/// Parameters' own buffers, so the Parameters must stay until then; autograd returns that w.r.t. `hidden`. The
/// auxiliary losses enter backward by their gradient alone, with weights from `config`, as if they had been added to
/// the loss.
at::Tensor moe_layer(const at::Tensor& hidden, const MoeWeights& weights, const MoeConfig& config,
                     const MoeCall& call);

}  // namespace chorus::inline moe
