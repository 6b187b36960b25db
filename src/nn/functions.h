// The layers' differentiable functions. Each adds its weights' gradients to their kept buffers during
// backward (see kernels/parameter.h) and passes on only the gradient of its activations.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/random.h"
#include "comm/group.h"
#include "kernels/activation.h"
#include "kernels/dropout.h"
#include "kernels/parameter.h"

namespace chorus::inline nn {

/// How the weight of a linear layer is cut over ranks, all of which have the same input (1909.08053). Either each
/// rank holds some of the outputs, and the gradients w.r.t. the input are added up over the ranks; or each holds some
/// of the inputs, and the outputs are added up, with the bias added after that.
struct LinearCut {
  Group* over = nullptr;  // null: it is whole
  bool by_inputs = false;
};

/// Computes input [..., in] -> [..., out]: input weight^T + bias, by weight.matrix(). A quantized weight can only
/// compute, not train.
at::Tensor linear(const at::Tensor& input, Parameter& weight, Parameter* bias, LinearCut cut = {});

/// The parameters of a norm.
struct NormParameters {
  Parameter* weight = nullptr;
  Parameter* bias = nullptr;  // null: RMS norm
  double epsilon = 0;
};

/// Norms over the last dimension. With a bias layer normalisation; without one root-mean-square normalisation
/// (1910.07467) as T5 has it, with no mean taken off: input / sqrt(mean(input^2) + epsilon), computed in fp32 (fp64
/// for fp64) and rounded to the type of the input, times weight.
at::Tensor norm(const at::Tensor& input, const NormParameters& parameters);

/// linear(norm(input)), the weight cut by outputs if at all; it keeps only `input` for backward, which
/// norms it once more: one activation less than the two functions keep, for one more pass over it.
at::Tensor norm_linear(const at::Tensor& input, const NormParameters& parameters, Parameter& weight,
                       Parameter* bias, Group* over = nullptr);

/// The part of a vocabulary's weight that a rank holds, of the ranks that have it together.
struct VocabularyCut {
  Group* over = nullptr;         // null: it is whole
  int64_t first = 0, total = 0;  // the first entry held, and how many there are
};

/// ids int64 [...] -> [..., d]: weight[id] * scale. Rows of `padding` ids get no gradient; -1: all rows get
/// theirs.
at::Tensor embedding(const at::Tensor& ids, Parameter& weight, double scale, int64_t padding,
                     const VocabularyCut& cut = {});

/// Dropout by key; the identity when p is zero.
at::Tensor dropout(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice = {});

/// activate() with its backward.
at::Tensor activation(Activation kind, const at::Tensor& input);

}  // namespace chorus::inline nn
