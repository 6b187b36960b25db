// All of a model's state on this rank: its shards, and the updates that each chunk has had.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "kernels/device.h"
#include "memory/scratch_file.h"
#include "model/transformer.h"

#include "state/internal/schedule.h"
#include "state/internal/shard.h"

namespace chorus::inline state {

/// Threads: the training thread (and autograd's, for which it waits) may call everything. Background work on a shard
/// (Shard::gathering, which follows Shard::updating; Shard::summing) also calls load(), load_for_update(), store(),
/// is_behind(), for_weights(), for_stretches(), local(), is_frozen(), free(), model() and device(). What these read is
/// changed by freeze(), note_update() and through `updates`: all background work must have ended before.
class Shards {
 public:
  /// Does what Optimizer's constructor says. UserError likewise.
  Shards(Transformer& model, Parallel& parallel, const MemoryConfig& memory, StateForm expert_state);
  Shards(const Shards&) = delete;
  Shards& operator=(const Shards&) = delete;

  [[nodiscard]] std::vector<Shard>& all() { return shards_.all(); }
  [[nodiscard]] const std::vector<Shard>& all() const { return shards_.all(); }
  [[nodiscard]] ShardList<Shard>& list() { return shards_; }
  [[nodiscard]] const Transformer& model() const { return model_; }
  [[nodiscard]] std::vector<Parameter>& parameters() { return model_.parameters(); }
  /// Returns where the model computes.
  [[nodiscard]] at::Device device() const { return model_.options().device; }
  [[nodiscard]] const ScratchFile* file() const { return file_.get(); }

  /// Returns this rank's part of the bucket's parameter number i.
  [[nodiscard]] LocalPart local(const Shard& shard, size_t i) const;
  /// Sets which parameters are frozen; called before the first update.
  void freeze(std::vector<bool> parameters) { frozen_ = std::move(parameters); }
  [[nodiscard]] bool is_frozen(const Shard& shard, size_t i) const;
  /// Whether all parameters of it are frozen.
  [[nodiscard]] bool rests(const Shard& shard) const;

  // Give memory to the buckets' own tensors, and free it. allocate() does nothing where they have memory, free()
  // where they have none. Only the training thread calls allocate().
  void allocate(const at::Tensor& flat);
  void free(const at::Tensor& flat);
  [[nodiscard]] int64_t peak_bytes() const { return peak_bytes_; }

  /// Whether AdamW takes the host's time while an accelerator has other things to do.
  [[nodiscard]] bool updates_beside(const Shard& shard) const { return shard.home != device(); }

  /// Whether all of it lies on an accelerator, throughout: it is updated as a whole, not chunk by chunk.
  [[nodiscard]] bool is_whole(const Shard& shard) const { return shard.stays() && !is_host(device()); }
  /// Returns all weights of such a shard, with their gradients, for an update, which counts as made.
  std::span<AdamWTensor> whole_weights(Shard& shard);

  /// Loads a chunk, and makes up for the updates that it had missed; where it had missed any, it has to be stored.
  Loaded load(const Chunk& chunk) { return load(chunk, made_); }
  /// Does the same but for the last update, which the caller makes.
  Loaded load_for_update(const Chunk& chunk) { return load(chunk, made_ - 1); }
  void store(const Chunk& chunk, const Loaded& loaded) const;
  /// Whether it has missed updates.
  [[nodiscard]] bool is_behind(const Chunk& chunk) const { return chunk.shard.made[chunk.number] < made_; }
  /// Calls f(a weight's stretch of a chunk without its gradient, where in the chunk it begins) for each weight that
  /// is not frozen.
  void for_weights(const Chunk& chunk, const Loaded& loaded,
                   const std::function<void(AdamWTensor&, int64_t)>& f);
  /// Calls f(index in the bucket, first element in the parameter, first in the bucket, count) for each stretch of a
  /// parameter among elements [begin, end) of the bucket.
  void for_stretches(const Bucket& bucket, int64_t begin, int64_t end,
                     const std::function<void(size_t, int64_t, int64_t, int64_t)>& f) const;
  /// Returns the chunks that take part in an update, of shards that do not rest and are not updated as a whole.
  std::vector<Chunk> in_update();

  /// Notes that an update begins: chunks that take no part in it miss it.
  void note_update(const AdamWStep& step);

  /// Waits for all background work. Returns false when an exception passes and the work waits for other ranks, which
  /// may never come: what it uses must then stay for as long as the process lives.
  [[nodiscard]] bool settle();

  int64_t updates = 0;  // made so far, this start's and earlier ones'

 private:
  Loaded load(const Chunk& chunk, int64_t made);

  Transformer& model_;
  Parallel& parallel_;
  std::unique_ptr<ScratchFile> file_;  // where something goes on disk
  ShardList<Shard> shards_;            // one per bucket
  std::vector<bool> frozen_;           // empty: none
  int64_t made_ = 0;                   // updates
  std::vector<AdamWStep> recent_;      // the last of them: what chunks may have missed
  std::atomic<int64_t> bytes_ = 0;     // of values and gradients that are there
  int64_t peak_bytes_ = 0;
};

}  // namespace chorus::inline state
