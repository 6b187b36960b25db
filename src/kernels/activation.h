// The non-linearities of feed-forward layers, forward and backward, on any floating type and device.
#pragma once

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

/// geglu's gelu is the approximation by tanh, as T5 1.1 has it.
enum class Activation { relu, gelu, silu, swiglu, geglu };

/// Whether it multiplies a value by what it makes of a gate (2002.05202).
constexpr bool is_gated(Activation activation) {
  return activation == Activation::swiglu || activation == Activation::geglu;
}

/// Width of the first linear layer for a hidden width f: a gated one needs the gate and the value, [n, 2f] ->
/// [n, f].
inline int64_t activation_inputs(Activation activation, int64_t hidden) {
  return is_gated(activation) ? 2 * hidden : hidden;
}

/// input: [n, activation_inputs(f)] -> [n, f]. relu works in place on `input`: what backward needs is its
/// output.
at::Tensor activate(Activation activation, const at::Tensor& input);

/// What backward must keep of (input, output): relu its output, the others their input.
inline const at::Tensor& activation_to_keep(Activation activation, const at::Tensor& input,
                                            const at::Tensor& output) {
  return activation == Activation::relu ? output : input;
}

/// Returns the gradient w.r.t. the input, given that w.r.t. the output and what activation_to_keep() named.
at::Tensor activate_backward(Activation activation, const at::Tensor& grad_output, const at::Tensor& kept);

}  // namespace chorus::inline kernels
