// How much memory weights, gradients, moments and stashed activations take in each tier, without allocating
// it: the optimizer's schedule (internal/schedule.h) over shards that only count.
#pragma once

#include <memory>
#include <vector>

#include "architecture/config.h"
#include "layout/ledger.h"
#include "memory/config.h"
#include "model/footprint.h"
#include "optim/config.h"
#include "parallel/mesh.h"

namespace chorus::inline state {

struct Ledgers {
  Ledger device, host, nvme;
  Ledger& of(Tier tier);
};

/// A training's weights, as far as their memory is concerned.
struct WeightsShape {
  const ModelConfig& model;
  at::ScalarType compute = at::kFloat;
  Mesh mesh;
  int rank = 0;
  const MemoryConfig& memory;
  StateForm expert_state = StateForm::fp32;
  const std::vector<bool>& frozen;  // by parameter, in the order of the catalogue; empty: none
  bool accelerator = false;         // StepShape::accelerator
  // Gradients leave as fast as the backward pass makes them, and AdamW beside an accelerator keeps nothing waiting.
  bool keeps_pace = true;
};

class WeightsFootprint final : public BlockWatcher {
 public:
  /// `shape` is not kept; `ledgers` must outlive it.
  WeightsFootprint(const WeightsShape& shape, Ledgers& ledgers);
  ~WeightsFootprint() override;
  WeightsFootprint(const WeightsFootprint&) = delete;
  WeightsFootprint& operator=(const WeightsFootprint&) = delete;

  // As Optimizer's; all experts take part.
  void begin_update();
  void last_micro_batch();
  void before(size_t block, bool backward) override;
  void after(size_t block, bool backward) override;
  void norm_and_update();

 private:
  class Moves;
  std::unique_ptr<Moves> moves_;
};

/// Bytes of the masters and moments, in fp32, that this rank's checkpoints are made of, at most.
int64_t bytes_to_save(const WeightsShape& shape);

/// The footprint of a TierStash in this tier; null for the device.
std::unique_ptr<StashFootprint> stash_footprint(Tier tier, Ledgers& ledgers);

}  // namespace chorus::inline state
