// How many of a micro-batch's choices are kept, and how many of them the busiest rank gets.
#pragma once

#include "model/footprint.h"

namespace chorus::inline model {

struct RoutingShares {
  double kept = 1;  // of all choices
  // Choices for the experts of the busiest rank of ep, relative to the mean over its ranks, kept or not.
  double load = 1;
};

/// Returns the shares of the MoE layer `number` in a micro-batch of `tokens` that are no padding.
///
/// MemoryCase::typical: experts get shares of the choices in proportion to exp(s z), with z the quantiles of
/// the normal distribution and s = log2(experts) / 4, at most 1.5, which is what fresh routers were seen to
/// do on real text (docs/planning.md): logits have a part that all tokens share. What exceeds an expert's
/// capacity is dropped. Experts are shuffled over ranks; the load is the mean, over shuffles, of that of the
/// rank with most choices over all layers together (in a recomputed layer, of the rank with most in it).
RoutingShares routing_shares(const StepShape& job, int64_t number, int64_t tokens);

}  // namespace chorus::inline model
