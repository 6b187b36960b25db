// How long an update takes, by a stated model of the machine: each part of the update is bytes or FLOPs,
// divided by a rate. Of two parts that run side by side the longer one counts.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "layout/cost.h"
#include "plan/memory.h"

namespace chorus::inline plan {

/// What one rank has of the machine; rates in bytes per second unless said otherwise. `chorus bench machine`
/// measures them.
struct Machine {
  std::string name;
  double flops = 0;                      // FLOP/s of dense products, as large as the model's
  double device_memory = 0;              // reading and writing what the device holds
  double host_memory = 0;                // the same on the host: this rank's share
  double host_link = 0;                  // between device and host, each way
  double disk_read = 0, disk_write = 0;  // this rank's share
  double link = 0;                       // what a rank sends to the others of its host
  double network = 0;                    // and to other hosts
  double latency = 0;                    // seconds per message
  int64_t ranks_per_host = 1;
};
nlohmann::json to_json(const Machine& machine);
/// UserError naming the key that is missing or no positive number.
Machine read_machine(const std::filesystem::path& file);

/// Seconds.
struct StepTime {
  double compute = 0;    // FLOPs of all micro-batches
  double exchange = 0;   // rows to experts and back, twice in backward's direction
  double tensor = 0;     // sums over tp
  double movement = 0;   // weights and gradients between ranks (ZeRO, data parallelism) and tiers
  double optimizer = 0;  // the pass over gradients, moments and weights
  /// Movement goes on beside compute.
  [[nodiscard]] double total() const {
    return (compute > movement ? compute : movement) + exchange + tensor + optimizer;
  }
};
/// `cost` is cost_of(job), which does not depend on its layout.
StepTime plan_time(const Job& job, const Machine& machine, const ModelCost& cost);
ModelCost cost_of(const Job& job);

}  // namespace chorus::inline plan
