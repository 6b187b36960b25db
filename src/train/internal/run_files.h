// The checkpoints of a run and its exported model, written and read by all its ranks together, each the parts
// that it holds. Checkpoints are written beside training: what is to be saved is copied into host memory, and
// written from there by a thread, over a group of its own.
#pragma once

#include <filesystem>
#include <future>
#include <memory>
#include <optional>

#include "comm/group.h"
#include "data/vocabulary.h"
#include "io/checkpoint.h"
#include "state/optimizer.h"
#include "train/state.h"

#include "train/internal/part_queue.h"

namespace chorus::inline train {

/// Returns the state that a checkpoint carries. UserError when it is damaged.
TrainState state_of(const Checkpoint& checkpoint);

/// All ranks call every member together, each on the thread that trains.
class RunFiles {
 public:
  /// Rank 0 must hold the folder's FolderLock. `group` must outlive it.
  RunFiles(std::filesystem::path run, Group& group);
  /// Sets how to save; called before the first save(). `budget`: bytes of host memory, on this rank, for copies that
  /// wait to be written; 0: save() returns once all is on disk. `part_size`: train.checkpoint_part_size.
  void set_saving(int64_t budget, const std::string& part_size);

  /// Returns the newest whole checkpoint, verified; none in a new run. UserError when there are only damaged ones.
  std::optional<Checkpoint> latest();
  /// Fills the optimizer's masters and moments from the checkpoint; best.json is written again from `state`,
  /// which is the checkpoint's.
  void load(const Checkpoint& checkpoint, const TrainState& state, Optimizer& optimizer,
            const Catalogue& catalogue);
  struct Save {
    int64_t keep = 1;                // checkpoints that stay, besides the best
    std::filesystem::path exported;  // where the model goes too, before the checkpoint; empty: nowhere
  };
  /// Writes a checkpoint of update state.updates, which is a model folder too unless it is in parts.
  /// Waits for the previous save, then copies this rank's state into host memory while a thread writes the copies to
  /// disk. When the memory of the budget is full, waits until the copies in it are written. Returns when all is
  /// copied; the rest is written behind training. `model` and `vocabulary` must stay until finish_saving(). Errors of
  /// the previous save as finish_saving(); those of this one are thrown by a later call.
  void save(const TrainState& state, Optimizer& optimizer, const Transformer& model,
            const Vocabulary& vocabulary, const Save& how);
  /// Waits until the last save is on disk. Throws its errors: those of CheckpointStore::write, and Error when weights
  /// are not finite. The checkpoints are then as before.
  void finish_saving();
  /// Throws the last save's errors, like finish_saving(), when it has ended. Does not wait.
  void look_at_saving();
  /// Waits like finish_saving(), and drops the errors: for a caller that leaves because of another one.
  void abandon_saving() noexcept;
  /// Writes the model as a folder in fp32, like save_model(). Error when weights are not finite; `folder` is then as
  /// before.
  void export_model(const std::filesystem::path& folder, const Transformer& model,
                    const Vocabulary& vocabulary, Optimizer& optimizer);
  /// Throws Error when no model has been exported to `folder`.
  void check_exported(const std::filesystem::path& folder);

 private:
  /// Marks the checkpoint of state.best_update as the best, if it is there.
  void mark_best(const TrainState& state);
  [[nodiscard]] bool writes() const { return group_.rank() == 0; }
  std::filesystem::path run_;
  Group& group_;
  std::optional<CheckpointStore> checkpoints_;  // rank 0's; the saving thread's while it saves
  int64_t save_budget_ = 0;
  uint64_t part_size_ = 0;
  std::unique_ptr<PartQueue> queue_;  // once something has been saved
  std::future<void> saved_;           // valid until what it gives has been looked at
  Group saving_;                      // of all ranks, for its thread, which ends first
};

}  // namespace chorus::inline train
