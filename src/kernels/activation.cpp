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

at::Tensor activate(Activation activation, const at::Tensor& input) {
  switch (activation) {
    case Activation::relu:
      return input.relu_();
    case Activation::gelu:
      return at::gelu(input);
    case Activation::swiglu: {
      const int64_t half = input.size(-1) / 2;
      return at::silu(input.narrow(-1, 0, half)).mul_(input.narrow(-1, half, half));
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
    case Activation::swiglu: {
      const int64_t half = kept.size(-1) / 2;
      const at::Tensor gate = kept.narrow(-1, 0, half), value = kept.narrow(-1, half, half);
      return at::cat({at::silu_backward(grad_output * value, gate), grad_output * at::silu(gate)}, -1);
    }
  }
  return {};
}

}  // namespace chorus::inline kernels
