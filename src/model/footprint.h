// How much memory a training step's activations take, block by block, without allocating it: the footprint of
// layers.cpp, of the executor and of Transformer::train(). Whoever changes what one of these keeps changes
// layer_footprint.cpp or footprint.cpp too; tests/train/plan_test.cpp fails until that is done.
#pragma once

#include <memory>
#include <vector>

#include "architecture/config.h"
#include "data/padded_shape.h"
#include "kernels/cpu.h"
#include "layout/ledger.h"
#include "model/executor.h"
#include "parallel/mesh.h"

namespace chorus::inline model {

/// A training step, as far as its memory is concerned.
struct StepShape {
  ModelConfig model;  // with its vocabulary
  at::ScalarType compute = at::kFloat;
  Isa isa = Isa::avx512_bf16;  // with plain, attention in bf16 works on fp32 copies
  int64_t threads = 1;         // of a rank
  bool accelerator = false;    // computes on memory that is not the host's
  Mesh mesh;
  bool recompute = false;
  int64_t micro_batches = 1;  // of an update; the replicas (Mesh::dp) take turns
  PaddedShape batch;          // the largest
  MemoryCase memory_case = MemoryCase::typical;
  // Choices that go to the experts of this rank, relative to the mean over the ranks of ep, in each sparse
  // layer, where that is known. A capacity factor bounds it.
  std::vector<double> skew;

  /// Micro-batches of the busiest replica, per update.
  [[nodiscard]] int64_t rounds() const { return (micro_batches + mesh.dp() - 1) / mesh.dp(); }
};

/// What a Stash holds.
class StashFootprint {
 public:
  virtual ~StashFootprint() = default;
  /// How many bytes of an activation of so many stay in the host's memory.
  virtual Block put(int64_t bytes) = 0;
  /// The backward pass is over: everything has been taken.
  virtual void end() = 0;
};

class StepFootprint {
 public:
  /// Counts for rank `rank`. `shape` and `device` must outlive it.
  StepFootprint(const StepShape& shape, int rank, Ledger& device);
  ~StepFootprint();
  StepFootprint(const StepFootprint&) = delete;
  StepFootprint& operator=(const StepFootprint&) = delete;

  /// A micro-batch, forward and back; `weights` is told of each block as an executor tells it. `stash` may be
  /// null.
  void micro_batch(BlockWatcher& weights, StashFootprint* stash);

 private:
  class Run;
  std::unique_ptr<Run> run_;
};

}  // namespace chorus::inline model
