#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

void Backend::linear_product(const at::Tensor& out, const at::Tensor& input, const at::Tensor& weight,
                             const at::Tensor& bias) const {
  at::Tensor target = out;
  bias.defined() ? at::addmm_out(target, bias, input, weight.t()) : at::mm_out(target, input, weight.t());
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
  const at::Tensor product = at::mm(a.t(), b);
  overwrite ? target.copy_(product) : target.add_(product);
}

void Backend::wide_product(const at::Tensor& out, const at::Tensor& input, const at::Tensor& weight) const {
  if (out.scalar_type() == input.scalar_type()) {
    plain_product(out, input, weight.t());
  } else {
    out.copy_(at::mm(input, weight.t()));
  }
}

}  // namespace chorus::inline kernels
