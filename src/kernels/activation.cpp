#include "kernels/activation.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/gelu_backward.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>
#include <ATen/ops/threshold_backward.h>

namespace chorus::inline kernels {

namespace {

constexpr const char* kTanh = "tanh";

/// What a gated activation makes of the gate.
at::Tensor opened(Activation activation, const at::Tensor& gate) {
  return activation == Activation::swiglu ? at::silu(gate) : at::gelu(gate, kTanh);
}

}  // namespace

at::Tensor activate(Activation activation, const at::Tensor& input) {
  switch (activation) {
    case Activation::relu:
      return input.relu_();
    case Activation::gelu:
      return at::gelu(input);
    case Activation::silu:
      return at::silu(input);
    case Activation::swiglu:
    case Activation::geglu: {
      const int64_t half = input.size(-1) / 2;
      return opened(activation, input.narrow(-1, 0, half)).mul_(input.narrow(-1, half, half));
    }
  }
  return {};
}

at::Tensor activate_backward(Activation activation, const at::Tensor& grad_output, const at::Tensor& kept) {
  switch (activation) {
    case Activation::relu:
      return at::threshold_backward(grad_output, kept, 0);
    case Activation::gelu:
      return at::gelu_backward(grad_output, kept);
    case Activation::silu:
      return at::silu_backward(grad_output, kept);
    case Activation::swiglu:
    case Activation::geglu: {
      const int64_t half = kept.size(-1) / 2;
      const at::Tensor gate = kept.narrow(-1, 0, half), value = kept.narrow(-1, half, half);
      const at::Tensor by_opened = grad_output * value;
      const at::Tensor by_gate = activation == Activation::swiglu ? at::silu_backward(by_opened, gate)
                                                                  : at::gelu_backward(by_opened, gate, kTanh);
      return at::cat({by_gate, grad_output * opened(activation, gate)}, -1);
    }
  }
  return {};
}

}  // namespace chorus::inline kernels
