// Drawing a token from the distribution that Sampling leaves. See decode/sampling.h for the rules.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decode/sampling.h"

namespace chorus::inline decode {

struct Weighted {
  int32_t token = 0;
  double weight = 0;  // above 0; proportional to the probability
};

/// The tokens (columns) that may be drawn, given the logits of all (-inf: never). Error where one is NaN or +inf.
std::vector<Weighted> possible_tokens(std::span<const float> logits, const Sampling& sampling);

/// The token at `share` (in [0, 1)) of the sum of weights; `tokens` are not empty.
int32_t token_at(std::span<const Weighted> tokens, double share);

}  // namespace chorus::inline decode
