#include "plan/memory.h"

#include <algorithm>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "state/footprint.h"

namespace chorus::inline plan {

nlohmann::json to_json(const Holdings& held) {
  nlohmann::json json;
  for (size_t i = 0; i < kPurposes.size(); ++i) json[std::string(kPurposes[i])] = held.bytes[i];
  json["total"] = held.total();
  return json;
}

namespace {

WeightsShape weights_of(const Job& job, int rank) {
  return {.model = job.model,
          .compute = job.compute,
          .mesh = job.mesh,
          .rank = rank,
          .memory = job.memory,
          .expert_state = job.expert_state,
          .frozen = job.frozen,
          .accelerator = job.accelerator,
          .keeps_pace = job.memory_case == MemoryCase::typical};
}

}  // namespace

MemoryPlan plan_memory(const Job& job, int rank) {
  Ledgers ledgers;
  {
    StepFootprint step(job, rank, ledgers.device);
    WeightsFootprint weights(weights_of(job, rank), ledgers);
    const std::unique_ptr<StashFootprint> stash = stash_footprint(job.memory.activations, ledgers);
    weights.begin_update();
    const int64_t rounds = std::min<int64_t>(2, job.rounds());  // those between hold no more than the last
    for (int64_t i = 0; i < rounds; ++i) {
      if (i + 1 == rounds) weights.last_micro_batch();
      step.micro_batch(weights, stash.get());
    }
    weights.norm_and_update();
  }
  return {.device = ledgers.device.peak(), .host = ledgers.host.peak(), .nvme = ledgers.nvme.peak()};
}

int64_t plan_saving(const Job& job, int rank) {
  return bytes_to_save(weights_of(job, rank));
}

}  // namespace chorus::inline plan
