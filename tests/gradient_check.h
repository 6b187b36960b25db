// Gradients against central differences.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/norm.h>
#include <ATen/ops/randn_like.h>
#include <gtest/gtest.h>

namespace chorus {

/// A tensor that a loss depends on, and what is said to be the gradient w.r.t. it; both fp64.
struct Slope {
  std::string name;
  at::Tensor value, gradient;
};

/// Moves each value along random directions of length one, all its elements at once, so that an error in any
/// element shows, and expects the loss to change as the gradient says: to 1e-7 of the gradient's norm, at
/// least of one. The loss must not leave the piece (of relu, of a routing) it is on within 1e-5.
inline void expect_slopes(const std::function<double()>& loss, const std::vector<Slope>& slopes,
                          int directions = 2) {
  constexpr double kStep = 1e-5, kTolerance = 1e-7;
  const at::NoGradGuard plain;
  for (const Slope& slope : slopes) {
    ASSERT_EQ(slope.value.scalar_type(), at::kDouble) << slope.name;
    ASSERT_EQ(slope.gradient.sizes(), slope.value.sizes()) << slope.name;
    if (slope.value.numel() == 0) continue;
    at::Tensor value = slope.value.detach();
    const at::Tensor before = value.clone();
    for (int i = 0; i < directions; ++i) {
      at::Tensor direction = at::randn_like(value);
      direction /= direction.norm();
      value.copy_(before + kStep * direction);
      const double up = loss();
      value.copy_(before - kStep * direction);
      const double down = loss();
      value.copy_(before);
      const double scale = std::max(1.0, slope.gradient.norm().item<double>());
      EXPECT_NEAR((slope.gradient * direction).sum().item<double>(), (up - down) / (2 * kStep),
                  kTolerance * scale)
          << slope.name;
    }
  }
}

}  // namespace chorus
