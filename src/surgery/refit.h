// Fitting what is left of a pruned model to what the whole one gives.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/direction_text.h"
#include "model/transformer.h"

namespace chorus::inline surgery {

/// What is to be added to an expert's output matrix (fc2) and its bias: fp64 [d, f] and [d]; undefined: nothing.
struct OutputCorrection {
  at::Tensor weight, bias;
};

/// Returns the corrections that make each MoE layer of `pruned` give, for some text, what that of `whole` gives, as
/// nearly as its experts' output matrices can: [MoE layer][expert]. For the tokens t of expert e, with its hidden
/// units h (and 1, where it has biases) and gates g,
///
///   minimise over c, then D: sum over t of g^2 |r / s - (c W + D) h|^2 + ridge |D|^2
///
/// where r is what the layer's output lacks, s the sum of the token's gates, W the output matrix, and c W + D its
/// correction: as gates of fewer experts are larger, a multiple of W alone mends much, and takes few tokens to know.
/// With one expert per token that is the least squares of what is lacking; of several, each takes it on as if alone,
/// in proportion to its gate. The ridge, 0.001 to 100 of the mean of g^2 h^2, is the one with which what is fitted to
/// each half of the tokens is nearest for the other half; an expert for which none is nearer than no correction, as
/// one without tokens, has none. Layers are fitted one after the other, from the first on, each on what the corrected
/// ones before it give; `pruned` is left corrected.
///
/// The models are run as by measure_usage(), once per layer; both are in memory, and 2 (f^2 + f d) numbers of fp64
/// for each expert of one layer. `progress`, which may be empty, is told of the pairs that are done, each of them
/// once per layer. UserError on weights that are not finite, and on a language that the model does not know.
std::vector<std::vector<OutputCorrection>> refit_outputs(Transformer& pruned, Transformer& whole,
                                                         const Vocabulary& vocabulary,
                                                         std::span<const DirectionText> texts,
                                                         const std::function<void(int64_t pairs)>& progress);

}  // namespace chorus::inline surgery
