// Sampling: translations drawn from the model's distribution, token by token.
//
// The rules are those of transformers' generate() with do_sample: each step's distribution is sharpened or
// flattened by the temperature, and then cut by top-k, top-p and epsilon, in this order, each looking at
// what the one before has left, scaled up to sum to 1 (nucleus sampling: 1904.09751; epsilon: 2210.15191).
// The most probable token always stays. Repetition penalties are of logits (decode/beam.h).
//
// What is drawn is a function of the model, the input (its `random` included), the number of the sample and
// of the step: not of what else is in a batch, nor of how many samples there are.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "decode/beam.h"

namespace chorus::inline decode {

struct Sampling {
  double temperature = 1;  // above 0: log-probabilities are divided by it
  int64_t top_k = 0;       // only the k most probable tokens, and those as probable as the last; 0: all
  double top_p = 1;        // only the most probable ones that together have this probability
  double epsilon = 0;      // only those of this probability
  uint64_t seed = 1;       // of DecodeInput::random, which those who make inputs derive from it
};

/// options.nbest translations of each input, in the order of their numbers; options.beam does not matter.
/// Log-probabilities and scores are the model's, whatever the distribution was made before drawing. Otherwise
/// as beam_search(). UserError also on settings out of range.
std::vector<std::vector<Hypothesis>> sample(const StepDecoder& model, std::span<const DecodeInput> inputs,
                                            const DecodeOptions& options, const Sampling& sampling,
                                            const std::function<void(int64_t done)>& progress = {});

}  // namespace chorus::inline decode
