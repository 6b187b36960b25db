// The training run: one folder, from its first update to its last, over any number of starts.
//
//   RUN/run.toml                    the settings, whole, from the first update on
//   RUN/sentencepiece.bpe.model     the vocabulary, when the run file names none
//   RUN/vocabulary.json             what it was made from
//   RUN/store/                      tokenised text
//   RUN/data.train.json, .valid.json  what each direction gives, and what was left out and why
//   RUN/checkpoints/step-N/         a model folder, with optimizer.safetensors and state.json
//   RUN/checkpoints/best.json       which of them is the best
//   RUN/model/                      the best model so far, which RUN stands for as a model (formats/place.h)
//   RUN/metrics.jsonl               a record every log_every updates and every validation
//   RUN/tensorboard/                the same for TensorBoard
//
// Starting again with the same settings goes on from the newest whole checkpoint, bit for bit as if it had
// never stopped (on the same machine with the same number of threads); a run that is done is left as it is. A
// start that fails before its first update does not bind the next one: it may leave a vocabulary and token
// stores, which the next one takes only where it would make the same.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "comm/group.h"
#include "train/config.h"

namespace chorus::inline train {

struct RunOptions {
  std::filesystem::path folder;
  bool accept_changes = false;  // go on with settings other than those the run was started with
  // Is given each record of metrics.jsonl, once it is there, by the rank that writes; may be empty.
  std::function<void(const nlohmann::json&)> on_record = {};
  // The ranks that train together, all with the same settings; null: this process alone.
  Group* group = nullptr;
};

/// Why train() came back; the last two: SIGINT, or SIGTERM, at any rank.
enum class Ending { done, out_of_time, no_better, interrupted, terminated };
inline bool by_signal(Ending ending) {
  return ending == Ending::interrupted || ending == Ending::terminated;
}

/// Trains until the run is done, SIGINT or SIGTERM arrives (a second one ends the process at once), or the
/// validation stops improving; a checkpoint is then written and RUN/model is there. config.model is that of
/// train.init (model_of()) but for the options that the run sets itself. UserError on settings, text or a run
/// folder that cannot be used; Error when more than `train.skip_limit` updates in a row had no finite gradient, when
/// weights are not finite, or when there never was a validation, so that there is no model.
Ending train_run(const RunConfig& config, const RunOptions& options);

}  // namespace chorus::inline train
