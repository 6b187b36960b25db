// What a rank keeps of a bucket, and where: what follows from the settings alone, before there is memory.
#pragma once

#include "layout/buckets.h"
#include "memory/config.h"
#include "optim/config.h"

namespace chorus::inline state {

/// Elements [begin, end) of a bucket's flat tensors are kept here, of which [own, own_end) are this rank's
/// part.
struct ShardPlan {
  int64_t elements = 0;  // of the bucket
  int64_t begin = 0, end = 0, own = 0, own_end = 0;
  int sharers = 1;  // ranks that have the same weights
  Tier values = Tier::device, gradients = Tier::device, state = Tier::device;
  bool values_go = false, gradients_go = false;  // with their block: they are not on the device throughout
  bool has_master = false;                       // fp32 beside the values
  StateForm form = StateForm::fp32;              // of the moments

  [[nodiscard]] bool shared() const { return sharers > 1; }
  [[nodiscard]] bool in_parts() const { return end - begin < elements; }
  /// Whether all of it lies where the model computes, throughout.
  [[nodiscard]] bool stays() const {
    return !values_go && !gradients_go && state == Tier::device && form == StateForm::fp32;
  }
  /// Moments, and the master.
  [[nodiscard]] int64_t state_rows() const { return has_master ? 3 : 2; }
};

/// Plans the shard of rank `index` of the `sharers` of the bucket, at ZeRO stage `zero`.
ShardPlan plan_shard(const Bucket& bucket, const MemoryConfig& memory, int zero, int sharers, int index,
                     StateForm expert_state);

}  // namespace chorus::inline state
