// The checkpoints of a run and its exported model, written and read by all its ranks together, each the parts
// that it holds.
#pragma once

#include <filesystem>
#include <optional>

#include "comm/group.h"
#include "data/vocabulary.h"
#include "io/checkpoint.h"
#include "state/optimizer.h"
#include "train/state.h"

namespace chorus::inline train {

/// Every member is called by all ranks.
class RunFiles {
 public:
  /// Rank 0 must hold the folder's FolderLock. `group` must outlive it.
  RunFiles(std::filesystem::path run, Group& group);

  /// The newest whole checkpoint, verified. UserError when there are only damaged ones.
  std::optional<Checkpoint> latest();
  /// Fills the optimizer's masters and moments from the checkpoint; best.json is written again from `state`,
  /// which is the checkpoint's.
  void load(const Checkpoint& checkpoint, const TrainState& state, Optimizer& optimizer,
            const Catalogue& catalogue);
  /// A checkpoint of state.updates, which is a model folder too; the best one and the `keep` newest stay.
  /// Errors as CheckpointStore::write, and where weights are not finite: the checkpoints are then as before.
  void save(const TrainState& state, Optimizer& optimizer, const Transformer& model,
            const Vocabulary& vocabulary, int64_t keep);
  /// As save_model(), in fp32. Error where weights are not finite; `folder` is then as before.
  void export_model(const std::filesystem::path& folder, const Transformer& model,
                    const Vocabulary& vocabulary, Optimizer& optimizer);
  /// Error where no model has been exported.
  void check_exported(const std::filesystem::path& folder);

 private:
  /// Of what state.best_update says.
  void mark_best(const TrainState& state);
  [[nodiscard]] bool writes() const { return group_.rank() == 0; }
  /// Rank 0's, on every rank.
  std::string common(const std::string& text);

  std::filesystem::path run_;
  Group& group_;
  std::optional<CheckpointStore> checkpoints_;  // rank 0's
};

}  // namespace chorus::inline train
