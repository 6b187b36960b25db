#include "kernels/parameter.h"

#include "kernels/gemm.h"

namespace chorus::inline kernels {

void Parameter::accumulate(const at::Tensor& contribution) {
  if (has_gradient) {
    gradient.add_(contribution);
  } else {
    gradient.copy_(contribution);
    has_gradient = true;
  }
}

void Parameter::accumulate_product(const at::Tensor& a, const at::Tensor& b) {
  add_product(gradient.view({a.size(1), b.size(1)}), a, b, !has_gradient);
  has_gradient = true;
}

bool Parameter::begin_slices() {
  const bool overwrite = !has_gradient;
  has_gradient = true;
  return overwrite;
}

}  // namespace chorus::inline kernels
