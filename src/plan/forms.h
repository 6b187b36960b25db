// Which parallel form and which tiers: the forms of 2109.10465 with the largest model that each holds, and a
// search for the fastest layout of a given model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan/placement.h"
#include "plan/time.h"

namespace chorus::inline plan {

/// A job in some layout, and what it takes.
struct Candidate {
  std::string name;  // "E+Z"
  Job job;
  int64_t parameters = 0;
  MemoryPlan memory;
  std::optional<StepTime> time;  // with a machine

  /// Settings of a run file that give this layout: "parallel.ep=8".
  [[nodiscard]] std::vector<std::string> settings() const;
  /// Target tokens: an update has as many in every layout, since idle replicas add none. 0 without a machine.
  [[nodiscard]] double tokens_per_second() const;
};

/// The machine that the job is planned for.
struct Cluster {
  int world = 1;
  Budgets budgets;                 // of a rank
  std::optional<Machine> machine;  // without it no times
};

/// What a run file may ask for in moe.experts: no form's model has more.
inline constexpr int64_t kMostExperts = 65536;

/// For both below, a job fits if it does however tokens are routed, as for place().
///
/// Returns for E, E+D, E+Z, E+D+M, E+D+Z, E+Z+M, E+Z-Off+M and E+Z-NVMe+M the model with most experts in each of its
/// MoE layers that fits, found to within 1/64, in the layout that holds it (the fastest of those that hold as
/// many, with a machine); parameters 0 where not even one expert per rank fits. A form that the world or the
/// model cannot have is left out.
///   E      experts over all ranks; with D over some of them, and copies of these
///   Z      ZeRO 1 to 3               M      dense layers cut over 2 ranks or more
///   -Off   optimizer and gradients on the host   -NVMe  these and parameters on NVMe
/// UserError for a dense model, and without a limit on the device: there is no largest model then.
std::vector<Candidate> largest_models(const Job& job, const Cluster& cluster);

/// Layouts of the given model that fit, the fastest first, at most `most`: all degrees, stages of ZeRO, with
/// and without recomputation, each with the placement (of dense weights and of experts) that is fastest for
/// it. By the times of plan_time() there is none faster than the first. Needs a machine.
std::vector<Candidate> search_layouts(const Job& job, const Cluster& cluster, size_t most);

}  // namespace chorus::inline plan
