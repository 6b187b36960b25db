// Brings each block's weights before it runs, and lets its gradients go when it has run back, as the executor
// tells it (BlockWatcher).
#pragma once

#include <vector>

#include "model/executor.h"

#include "state/internal/gradient_reducer.h"
#include "state/internal/shards.h"

namespace chorus::inline state {

class WeightProvider final : public BlockWatcher {
 public:
  WeightProvider(Shards& shards, GradientReducer& reducer) : shards_(shards), reducer_(reducer) {}

  bool last = false;  // the micro-batch is the last that this rank adds to the update

  /// Forgets the gradients of the update before.
  void begin_update();
  /// Begins to fill the bucket's values, with the parts that this rank and others keep, once they are updated.
  void gather(Shard& shard, bool backward);

  void before(size_t block, bool backward) override { before_block(*this, shards_.list(), block, backward); }
  bool before_experts(size_t block, const std::vector<int64_t>& rows, bool backward) override;
  void after(size_t block, bool backward) override {
    after_block(*this, shards_.list(), block, backward, last);
  }

  // For the schedule (schedule.h).
  static bool values_come(const Shard& shard) { return shard.gathering.pending(); }
  void begin_to_bring(Shard& shard, bool backward) { gather(shard, backward); }
  static void await_values(Shard& shard) {
    shard.gathering.finish();
    shard.updating.finish();
  }
  void bring_gradients(Shard& shard);
  static void await_departure(Shard& shard);
  static void begins(size_t /*block*/, bool /*backward*/) {}
  void drop_values(Shard& shard) { shards_.free(shard.bucket.values); }
  static void ran(Shard& shard);
  void reduce(Shard& shard) { reducer_.reduce(shard, last); }

 private:
  void bring_values(Shard& shard, const std::vector<int64_t>& numbers);
  void bring_gradients(Shard& shard, const std::vector<int64_t>& numbers);

  Shards& shards_;
  GradientReducer& reducer_;
};

}  // namespace chorus::inline state
