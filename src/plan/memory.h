// What a training run will hold, tier by tier, before any of it is there: one rank's update is gone through
// with blocks of memory that only have a size, in the order in which the executor, the layers and the
// optimizer allocate and free them. The peak is then read off as it is off the run (memory/usage.h).
//
// Left out: what does not grow with the model or the text (vocabulary, token stores' pages, MPI's own
// buffers).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "architecture/config.h"
#include "layout/ledger.h"
#include "memory/config.h"
#include "model/footprint.h"
#include "optim/config.h"

namespace chorus::inline plan {

/// A run as far as its memory is concerned.
struct Job : StepShape {
  MemoryConfig memory;
  StateForm expert_state = StateForm::fp32;  // of moments of experts
  std::vector<bool> frozen;                  // by parameter, in the order of the catalogue; empty: none
};

/// Of each tier, what it holds at the moment when it holds most.
struct MemoryPlan {
  Holdings device, host, nvme;
};
/// Bytes by purpose, and their total.
nlohmann::json to_json(const Holdings& held);
/// Plans the memory of one rank at its second update: the first has written all there is on disk. Copies of what is
/// being saved are left out.
MemoryPlan plan_memory(const Job& job, int rank = 0);

/// Bytes of such copies, at most.
int64_t plan_saving(const Job& job, int rank = 0);

}  // namespace chorus::inline plan
