#include "kernels/routing.h"

#include <algorithm>
#include <cmath>

namespace chorus::inline kernels {

int64_t expert_capacity(double factor, int64_t top_k, int64_t tokens, int64_t experts) {
  if (factor == 0) return tokens;
  const double share = factor * static_cast<double>(top_k * tokens) / static_cast<double>(experts);
  return std::max<int64_t>(1, static_cast<int64_t>(std::ceil(share)));
}

}  // namespace chorus::inline kernels
