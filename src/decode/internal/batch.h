// Batches of sentences, decoded together, each by a search of its own.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "decode/beam.h"

#include "decode/internal/search.h"

namespace chorus::inline decode {

/// A kind of search, and what it needs.
struct SearchKind {
  int64_t width = 1;    // most hypotheses of a sentence
  int64_t best = 1;     // NextTokens::best, at most (a vocabulary may have fewer)
  bool logits = false;  // whether NextTokens::logits are looked at
  bool greedy = false;  // whether one token per hypothesis is chosen for good (DecodeOptions)
  std::function<std::unique_ptr<Search>(size_t number, const DecodeInput& input)> make;
};

/// What beam_search() and sample() share; see there.
std::vector<std::vector<Hypothesis>> search_all(const StepDecoder& model, std::span<const DecodeInput> inputs,
                                                const DecodeOptions& options, const SearchKind& kind,
                                                const std::function<void(int64_t done)>& progress);

}  // namespace chorus::inline decode
