// AdamW on one element (kernels/adamw.h): the same bits on the host and on a device.
#pragma once

#include <cmath>

#include "kernels/adamw.h"

#include "kernels/internal/team.h"

namespace chorus::inline kernels {

/// The factors of a step, in the type of the arithmetic.
struct AdamWFactors {
  float scale;         // of the gradient
  float keep1, take1;  // beta1, 1 - beta1
  float keep2, take2;
  float shrink;   // 1 - learning rate * decay
  float rate;     // learning rate / (1 - beta1^t)
  float correct;  // 1 / sqrt(1 - beta2^t)
  float epsilon;
};

inline AdamWFactors factors_of(const AdamWStep& s, bool decay) {
  const auto t = static_cast<double>(s.step);
  return {.scale = static_cast<float>(s.gradient_scale),
          .keep1 = static_cast<float>(s.beta1),
          .take1 = static_cast<float>(1 - s.beta1),
          .keep2 = static_cast<float>(s.beta2),
          .take2 = static_cast<float>(1 - s.beta2),
          .shrink = static_cast<float>(decay ? 1 - s.learning_rate * s.weight_decay : 1.0),
          .rate = static_cast<float>(s.learning_rate / (1 - std::pow(s.beta1, t))),
          .correct = static_cast<float>(1 / std::sqrt(1 - std::pow(s.beta2, t))),
          .epsilon = static_cast<float>(s.epsilon)};
}

/// Updates a weight and its moments by a gradient that is scaled already.
CHORUS_EVERYWHERE void advance(float& p, float& m, float& v, float g, const AdamWFactors& c) {
  m = std::fma(c.keep1, m, c.take1 * g);
  v = std::fma(c.keep2, v, c.take2 * g * g);
  const float root = std::fma(std::sqrt(v), c.correct, c.epsilon);
  p = std::fma(-c.rate, m / root, p * c.shrink);
}

}  // namespace chorus::inline kernels
