// AdamW over a model's parameters on one rank or many: sums of gradients, the global norm, clipping, updates,
// and what ZeRO keeps in parts (Rajbhandari et al., "ZeRO: memory optimizations toward training trillion
// parameter models").
//
// The ranks that share a bucket's weights (dp, of experts edp) cut its flat tensors into equal parts, one
// per rank.
//
//   stage  whole on every rank              only the own part
//   0      values, gradients, moments
//   1      values, gradients                moments; masters of bf16 weights
//   2      values; a block's gradients      besides, gradients
//          while it runs back
//   3      a block's values and gradients   besides, values
//          while it runs
//
// What MemoryConfig keeps on the host or on disk is never there as a whole: values come to the device for as
// long as their block runs (at stages 1 and 2 then from all ranks' parts, as at stage 3); gradients leave it
// as soon as their block has run back; masters and moments pass through memory chunk by chunk while they are
// updated.
//
// Experts off the device are brought there by use, where no other rank shares their weights: those without
// tokens are neither fetched nor read, their gradient is zero without being written, and the updates that
// they miss are made up for, to the same bits, when they are needed again or read() shows them.
//
// Gradients are summed in the background while the backward pass goes on, a bucket as soon as its block has
// run back. Where the moments lie on an accelerator's host, or on disk, AdamW goes on there after update(), bucket
// by bucket in the order of their blocks: each of these waits for its own before it runs, and all that is called here
// for all of them.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "memory/config.h"
#include "memory/scratch_file.h"
#include "model/transformer.h"
#include "optim/config.h"

namespace chorus::inline state {

class Optimizer {
 public:
  /// `model` and `parallel`, with which it was made, must outlive it. Moments start at zero; masters are not
  /// set. UserError where there is no room for what goes on disk.
  Optimizer(Transformer& model, const OptimConfig& config, Parallel& parallel,
            const MemoryConfig& memory = {});
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  /// Consecutive elements of this rank's part of one parameter, as flat tensors that lie in its state, or in
  /// the piece of it that is in memory.
  struct Part {
    size_t parameter = 0;
    LocalPart local;
    int64_t first = 0;        // in this rank's part
    at::Tensor master, m, v;  // fp32, also where state is kept in fewer bytes
  };
  using Visit = std::function<void(const Part&)>;
  /// Shows `visit` all that this rank has to write to a checkpoint: over all ranks, every element of every
  /// parameter is shown exactly once.
  void read(const Visit& visit);
  /// Lets `visit` overwrite all masters and moments that this rank keeps; values are then set from them.
  void change(const Visit& visit);
  /// Sets the masters to initial_value().
  void initialise(RandomKey seed);

  /// Freezes the marked parameters (one mark per parameter): from now on they get no update, and take no part in the
  /// norm.
  void freeze(std::vector<bool> parameters);

  /// Forgets the gradients of the update before.
  void begin_update();
  /// Says that the next micro-batch is the last that this rank adds to the update.
  void last_micro_batch();
  /// Returns the norm of all gradients together, those of all ranks but not of frozen parameters. A parameter that
  /// took no part counts as zero. Waits until all are summed.
  double gradient_norm();
  /// Makes one AdamW update, with gradients scaled so that their norm is at most config.clip_norm. Where state lies
  /// off an accelerator, the update may go on in the background.
  void update(double learning_rate, double norm);
  /// Waits until the last update is made. Must be called before anything reads the model's values without telling
  /// watcher().
  void finish_update();

  /// Updates made so far, which the bias corrections count.
  [[nodiscard]] int64_t updates() const;
  void set_updates(int64_t updates);

  /// Returns the most bytes of values and gradients that were in memory at one time.
  [[nodiscard]] int64_t peak_bytes() const;
  /// Bytes of the scratch file; 0 without one.
  [[nodiscard]] uint64_t bytes_on_disk() const;
  [[nodiscard]] ScratchFile::Traffic traffic() const;
  /// Whether the model's values are all there, with all updates, at any time, not only while a block runs.
  [[nodiscard]] bool values_stay() const;

  /// Returns what the model tells of its blocks. It is set as the model's watcher while the optimizer lives.
  BlockWatcher& watcher();

 private:
  struct State;
  Transformer& model_;
  OptimConfig config_;
  Parallel& parallel_;
  std::unique_ptr<State> state_;
};

}  // namespace chorus::inline state
