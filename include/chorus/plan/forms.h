// Which parallel form and which tiers: the forms of 2109.10465 with the largest model that each holds, and a
// search for the fastest layout of a given model.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "chorus/plan/placement.h"
#include "chorus/plan/time.h"

namespace chorus {

/// A job as a form has it, and what it comes to.
struct Candidate {
  std::string name;  // "E+Z"
  Job job;
  int64_t parameters = 0;
  MemoryPlan memory;
  std::optional<StepTime> time;  // with a machine

  /// Settings of a run file that give this layout: "parallel.ep=8".
  [[nodiscard]] std::vector<std::string> settings() const;
  /// Target tokens of all ranks together; 0 without a machine.
  [[nodiscard]] double tokens_per_second() const;
};

/// The machine's part in it.
struct Cluster {
  int world = 1;
  int64_t ranks_per_host = 1;
  Budgets budgets;                 // of a rank
  std::optional<Machine> machine;  // without it no times
};

/// For E, E+D, E+Z, E+D+M, E+D+Z, E+Z+M, E+Z-Off+M and E+Z-NVMe+M the model with most experts in each of its
/// MoE layers that fits; parameters 0 where not one expert a rank does.
///   E      experts over all ranks                D    experts over the ranks of one host, and copies of them
///   Z      ZeRO 2, with D ZeRO 3                 M    dense layers cut over the ranks of a host
///   -Off   optimizer and gradients on the host   -NVMe  everything on NVMe
std::vector<Candidate> largest_models(const Job& job, const Cluster& cluster);

/// Layouts of the given model that fit, the fastest first, at most `most`: all degrees, stages of ZeRO, with
/// and without recomputation, tiers by place(). Needs a machine.
std::vector<Candidate> search_layouts(const Job& job, const Cluster& cluster, size_t most);

}  // namespace chorus
