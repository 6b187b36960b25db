#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "base/error.h"
#include "kernels/device.h"

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

/// Whether libtorch's products of such operands can give their sums in fp32, unrounded.
bool has_wide_sums(const at::Tensor& operand, const at::Tensor& out) {
  return is_nvidia(operand.device()) && operand.scalar_type() == at::kBFloat16 &&
         out.scalar_type() == at::kFloat;
}

}  // namespace

void Backend::linear_product(const at::Tensor& out, const at::Tensor& input, const Matrix& weight,
                             const LinearOptions& o) const {
  if (weight.quantization != Quantization::none)
    throw Error("quantized weights are multiplied on the host alone");
  at::Tensor target = out;
  const at::Tensor w = weight.values.t(), x = input.to(w.scalar_type());
  const at::Tensor bias = o.bias.defined() ? o.bias.to(w.scalar_type()).view(-1) : at::Tensor();
  if (out.scalar_type() == w.scalar_type()) {
    bias.defined() ? at::addmm_out(target, bias, x, w) : at::mm_out(target, x, w);
  } else if (has_wide_sums(x, target)) {
    at::mm_out(target, x, w, at::kFloat);
    if (bias.defined()) target.add_(bias);
  } else {
    target.copy_(bias.defined() ? at::addmm(bias, x, w) : at::mm(x, w));
  }
  if (o.relu) target.relu_();
  if (o.residual.defined()) target.add_(o.residual);
}

void Backend::plain_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const {
  at::Tensor target = out;
  at::mm_out(target, a, b);
}

void Backend::add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b,
                          bool overwrite) const {
  if (target.scalar_type() == a.scalar_type()) {
    target.addmm_(a.t(), b, overwrite ? 0 : 1);
    return;
  }
  if (has_wide_sums(a, target) && overwrite) {
    at::Tensor sum = target;
    at::mm_out(sum, a.t(), b, at::kFloat);
    return;
  }
  const at::Tensor product = has_wide_sums(a, target) ? at::mm(a.t(), b, at::kFloat) : at::mm(a.t(), b);
  overwrite ? target.copy_(product) : target.add_(product);
}

}  // namespace chorus::inline kernels
