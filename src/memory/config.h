// Where a run keeps its weights, gradients and so on: three tiers of memory, each larger and slower than the
// one before.
//
//   device  where the model computes. Without a GPU it is what libtorch allocates, counted, and kept below
//           memory.device_budget
//   host    the host's memory; without a GPU counted apart from the device's
//   nvme    a scratch file (memory/scratch_file.h)
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "config/options.h"

namespace chorus::inline memory {

enum class Tier {
  device,
  host,
  nvme,
  automatic,  // in run files "auto": the planner chooses before anything is allocated (plan/placement.h)
};

struct MemoryConfig {
  Tier parameters = Tier::device;  // the weights that the model computes with
  Tier gradients = Tier::device;
  Tier optimizer = Tier::device;    // moments, and the fp32 masters of bf16 weights
  Tier activations = Tier::device;  // what blocks keep for backward: their inputs
  // Of experts; none: as the others.
  std::optional<Tier> expert_parameters, expert_gradients, expert_optimizer;
  std::string device_budget;         // "2GiB"; empty: no limit
  std::string host_budget;           // what `automatic` may put on the host; empty: no limit
  std::string save_budget = "2GiB";  // copies of what is saved, until they are written; empty: none are kept
  std::string folder;                // of scratch files; empty: the run's own

  [[nodiscard]] bool uses(Tier tier) const;
};

/// Section "memory".
void describe(Schema& schema, MemoryConfig& config);

/// "512MiB", "2GiB", "40GB", "1.5TB" -> bytes; 0 for "". UserError naming `option` for anything else.
int64_t parse_bytes(const std::string& text, std::string_view option);

}  // namespace chorus::inline memory
