// Where a run stands, apart from tensors: what a checkpoint's state.json carries.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "data/batch.h"
#include "optim/config.h"

namespace chorus::inline train {

struct TrainState {
  int64_t updates = 0;            // global batches consumed, skipped ones included
  int64_t optimizer_updates = 0;  // of these, those that were applied
  int64_t target_tokens = 0;
  int64_t sentences = 0;            // pairs served, of the text as it is now
  int64_t sentences_per_epoch = 0;  // of that text; 0: not known
  DataPosition position;            // of the next global batch
  int64_t skipped_in_a_row = 0;
  double seconds = 0;             // of training, over all starts of the run
  std::optional<double> best;     // criterion of the best validation
  int64_t best_update = -1;       // the update of that validation; -1: none, or not known
  int64_t validated = -1;         // the last update that was validated, or whose model was exported unseen
  int64_t stale_validations = 0;  // validations since the best one
  std::string data_hash;          // of the text that `position` refers to
  std::string order_hash;         // of the options that order that text; "": not known
  std::string criterion_hash;     // of what decides the number in `best`; "": not known
  std::string vocabulary_hash;

  [[nodiscard]] double epochs() const {
    return static_cast<double>(sentences) / static_cast<double>(sentences_per_epoch);
  }

  /// Counts an update whose gradient was applied (or, if not `applied`, was not finite). Error when more than
  /// `skip_limit` in a row were not finite.
  void note_gradient(bool applied, int64_t skip_limit);
  /// Records a validation's score (none: it was not finite). Returns whether it is the best so far.
  bool note_validation(std::optional<double> score, bool lower_is_better);
};

nlohmann::json to_json(const TrainState& state);
/// UserError naming `where` and the field that is missing or wrong.
TrainState train_state_from_json(const nlohmann::json& json, const std::string& where);

}  // namespace chorus::inline train
