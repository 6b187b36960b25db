#include "kernels/routing.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>

namespace chorus::inline kernels {

ActiveRows::ActiveRows(const at::Tensor& on_host, at::Device device)
    : flags(on_host.to(device)), count(on_host.sum().item<int64_t>()) {}

int64_t Routing::dropped() const {
  return experts.ne(kept).sum().item<int64_t>();
}

int64_t expert_capacity(double factor, int64_t top_k, int64_t tokens, int64_t experts) {
  if (factor == 0) return tokens;
  const double share = factor * static_cast<double>(top_k * tokens) / static_cast<double>(experts);
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(share)));
}

}  // namespace chorus::inline kernels
