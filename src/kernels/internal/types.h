// The types of rows that kernels for devices take.
#pragma once

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

/// f(a value of the tensor's type), fp32 or bf16; false of other types.
template <class F>
bool with_type(const at::Tensor& x, const F& f) {
  if (x.scalar_type() == at::kFloat) {
    f(float{});
  } else if (x.scalar_type() == at::kBFloat16) {
    f(c10::BFloat16{});
  } else {
    return false;
  }
  return true;
}

}  // namespace chorus::inline kernels
