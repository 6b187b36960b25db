#include "optim/config.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace chorus::inline optim {

void describe(Schema& schema, OptimConfig& config) {
  schema.section("optim", "the optimizer (AdamW) and its learning rate");
  schema.add("learning_rate", config.learning_rate,
             {.help = "peak learning rate; larger models need a smaller one, about 5e-4 from d_model 1024 on",
              .min = 0,
              .max = 100});
  schema.add("schedule", config.schedule,
             {{"inverse_sqrt", Schedule::inverse_sqrt},
              {"cosine", Schedule::cosine},
              {"linear", Schedule::linear},
              {"constant", Schedule::constant}},
             {.help = "how the learning rate changes after warm-up; inverse_sqrt without one: as after one "
                      "of an update"});
  schema.add("warmup", config.warmup, {.help = "for how long the learning rate rises from zero to its peak"});
  schema.add(
      "decay", config.decay,
      {.help =
           "cosine, linear: when the minimum is reached, counted from the start of the run; 0: at its end"});
  schema.add("min_learning_rate", config.min_learning_rate,
             {.help = "lowest learning rate after warm-up", .min = 0, .max = 100});
  schema.add("beta1", config.beta1, {.help = "decay of the first moment", .min = 0, .max = 0.9999});
  schema.add("beta2", config.beta2, {.help = "decay of the second moment", .min = 0, .max = 0.999999});
  schema.add("epsilon", config.epsilon,
             {.help = "added to the root of the second moment", .min = 1e-30, .max = 1});
  schema.add("weight_decay", config.weight_decay,
             {.help = "decoupled weight decay; biases, norms and tables of relative positions are exempt",
              .min = 0,
              .max = 100});
  schema.add("clip_norm", config.clip_norm,
             {.help = "largest norm of the whole gradient, which is scaled down to it; 0: no limit",
              .min = 0,
              .max = 1e30});
  schema.add("expert_state", config.expert_state,
             {{"fp32", StateForm::fp32}, {"bf16", StateForm::bf16}, {"fp8", StateForm::fp8}},
             {.help = "format of the moments of experts: 4, 2 or 1 bytes each"});
}

double elapsed(const RunProgress& now, Duration::Unit unit) {
  switch (unit) {
    case Duration::Unit::updates:
      return static_cast<double>(now.updates);
    case Duration::Unit::epochs:
      return now.epochs;
    case Duration::Unit::tokens:
      return static_cast<double>(now.tokens);
  }
  return 0;
}

namespace {

/// Returns the share that is done of the way from the end of warm-up to the end of decay, 0 to 1.
double decayed(const OptimConfig& config, const RunProgress& now, Duration run_length) {
  const Duration end = config.decay.count > 0 ? config.decay : run_length;
  const bool warm = config.warmup.count > 0;
  if (end.count <= 0) {
    throw UserError("optim.schedule: cosine and linear need an end: give optim.decay or a length of the run");
  }
  if (warm && (end.unit != config.warmup.unit || end.count <= config.warmup.count)) {
    throw UserError(
        "optim.warmup = {} must count in the unit of the decay's end, {}, and lie before it, as {} may",
        to_string(config.warmup), to_string(end), to_string(Duration{1, end.unit}));
  }
  const double start = warm ? static_cast<double>(config.warmup.count) : 0;
  const double way = (elapsed(now, end.unit) - start) / (static_cast<double>(end.count) - start);
  return std::clamp(way, 0.0, 1.0);
}

}  // namespace

double learning_rate_at(const OptimConfig& config, const RunProgress& now, Duration run_length) {
  const double peak = config.learning_rate, least = std::min(peak, config.min_learning_rate);
  const double warm = config.warmup.count > 0
                          ? elapsed(now, config.warmup.unit) / static_cast<double>(config.warmup.count)
                          : 1;
  if (config.schedule == Schedule::cosine || config.schedule == Schedule::linear) {
    const double way = decayed(config, now, run_length);
    const double left =
        config.schedule == Schedule::linear ? 1 - way : (1 + std::cos(std::numbers::pi * way)) / 2;
    return warm < 1 ? peak * warm : least + (peak - least) * left;
  }
  if (warm < 1) {
    return peak * warm;
  }
  if (config.schedule == Schedule::inverse_sqrt) {
    const double ratio = config.warmup.count > 0 ? warm : std::max(1.0, static_cast<double>(now.updates));
    return std::max(least, peak / std::sqrt(ratio));
  }
  return peak;
}

bool can_apply(const OptimConfig& config, double norm) {
  constexpr double kLargest = 1e19;  // whose square fp32 holds
  return std::isfinite(norm) && (config.clip_norm > 0 ? std::min(norm, config.clip_norm) : norm) <= kLargest;
}

}  // namespace chorus::inline optim
