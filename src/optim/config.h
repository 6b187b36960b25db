// The optimizer's settings and the learning rate over a run.
#pragma once

#include <cstdint>

#include "config/options.h"

namespace chorus::inline optim {

enum class Schedule { inverse_sqrt, cosine, linear, constant };

enum class StateForm { fp32, bf16, fp8 };

struct OptimConfig {
  double learning_rate = 2e-3;
  Schedule schedule = Schedule::inverse_sqrt;
  Duration warmup = {.count = 1000, .unit = Duration::Unit::updates};
  Duration decay = {};  // cosine, linear: when the minimum is reached; zero: at the end of the run
  double min_learning_rate = 0;
  double beta1 = 0.9, beta2 = 0.98;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  double clip_norm = 1;                      // zero: no clipping
  StateForm expert_state = StateForm::fp32;  // how the moments of experts are stored; see compact_state.h
};

/// Section "optim".
void describe(Schema& schema, OptimConfig& config);

/// How far a run is, counting the update in question: 1 update for the first one.
struct RunProgress {
  int64_t updates = 0;
  double epochs = 0;
  int64_t tokens = 0;
};

/// `now` in the unit of `unit`.
double elapsed(const RunProgress& now, Duration::Unit unit);

/// The learning rate of the update that brings the run to `now`. Warm-up rises linearly from zero; then
///   constant      stays at the peak,
///   inverse_sqrt  falls with sqrt(warmup / elapsed) (Vaswani et al., 2017, section 5.3),
///   cosine        falls along half a cosine (Loshchilov and Hutter, "SGDR", 2017) from the end of warm-up to
///                 the end of `decay` (by default `run_length`),
///   linear        falls along a straight line between the same ends,
/// and never below min_learning_rate once warm-up is over. UserError when cosine or linear have no end, or
/// one that does not lie after warm-up in the same unit.
double learning_rate_at(const OptimConfig& config, const RunProgress& now, Duration run_length);

/// Whether an update may be made of a gradient of that norm: it is finite, and so are, in fp32, the squares of what is
/// left of it behind clipping.
bool can_apply(const OptimConfig& config, double norm);

}  // namespace chorus::inline optim
