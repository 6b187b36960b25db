// Which tier each part of a run's state goes to, so that the run fits.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan/memory.h"

namespace chorus::inline plan {

/// Bytes that one rank may hold; 0: there is no limit.
struct Budgets {
  int64_t device = 0, host = 0, nvme = 0;
};

/// Returns the tier as run files spell it.
const char* name_of(Tier tier);

/// The factor by which a run may exceed its plan; docs/planning.md says how often it does.
inline constexpr double kMargin = 1.05;

/// Whether the plan and its margin are within the budgets.
[[nodiscard]] bool fits(const MemoryPlan& plan, const Budgets& budgets);

/// Tiers for what is Tier::automatic: on the device as long as that fits; then the optimizer's state goes to
/// the host, then gradients, then weights and at last activations, experts before the rest where they are
/// placed apart; and in the same order to NVMe while the host has no room. None where nothing fits, however
/// tokens are routed.
std::optional<MemoryConfig> place(const Job& job, const Budgets& budgets);

/// Returns, for a job that doesn't fit, settings of a run file ("memory.optimizer=host") with which it would, as few
/// as place() finds. None where only another model or smaller micro-batches help.
std::optional<std::vector<std::string>> remedies(const Job& job, const Budgets& budgets);

}  // namespace chorus::inline plan
