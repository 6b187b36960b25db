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

/// The state that a checkpoint carries. UserError where it is none.
TrainState state_of(const Checkpoint& checkpoint);

/// Every member is called by all ranks.
class RunFiles {
 public:
  /// Rank 0 must hold the folder's FolderLock. `group` must outlive it.
  RunFiles(std::filesystem::path run, Group& group);
  /// Before the first save(). `budget`: bytes of copies that may wait to be written, on this rank; 0: save() comes back when
  /// all is on disk. `part_size`: train.checkpoint_part_size.
  void set_saving(int64_t budget, const std::string& part_size);

  /// The newest whole checkpoint, verified. UserError when there are only damaged ones.
  std::optional<Checkpoint> latest();
  /// Fills the optimizer's masters and moments from the checkpoint; best.json is written again from `state`,
  /// which is the checkpoint's.
  void load(const Checkpoint& checkpoint, const TrainState& state, Optimizer& optimizer,
            const Catalogue& catalogue);
  struct Save {
    int64_t keep = 1;                // checkpoints that stay, besides the best
    std::filesystem::path exported;  // where the model goes too, before the checkpoint; empty: nowhere
  };
  /// A checkpoint of state.updates, which is a model folder too unless it is in parts. Comes back when what is left to write has been copied,
  /// once what was saved before is on disk. `model` and `vocabulary` must stay until then. Throws what went wrong
  /// before.
  void save(const TrainState& state, Optimizer& optimizer, const Transformer& model,
            const Vocabulary& vocabulary, const Save& how);
  /// Until what was saved last is on disk. Errors as CheckpointStore::write, and where weights are not finite: the
  /// checkpoints are then as before.
  void finish_saving();
  /// The same, where it is known by now.
  void look_at_saving();
  /// The same, without its errors: for whoever leaves because of another one.
  void abandon_saving() noexcept;
  /// As save_model(), in fp32. Error where weights are not finite; `folder` is then as before.
  void export_model(const std::filesystem::path& folder, const Transformer& model,
                    const Vocabulary& vocabulary, Optimizer& optimizer);
  /// Error where no model has been exported.
  void check_exported(const std::filesystem::path& folder);

 private:
  /// Of what state.best_update says.
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
