// The training run: one folder, from its first update to its last, over any number of starts.
//
//   RUN/run.toml                    the settings, whole
//   RUN/sentencepiece.bpe.model     the vocabulary, when the run file names none
//   RUN/store/                      tokenised text
//   RUN/data.train.json, .valid.json  what each direction gives, and what was left out and why
//   RUN/checkpoints/step-N/         model.safetensors, optimizer.safetensors, state.json
//   RUN/model/                      the best model so far: what translate, score and inspect read
//   RUN/metrics.jsonl               a record every log_every updates and every validation
//   RUN/tensorboard/                the same for TensorBoard
//
// Starting again with the same settings goes on from the newest whole checkpoint, bit for bit as if it had
// never stopped (on the same machine with the same number of threads).
#pragma once

#include <filesystem>
#include <string>

#include "chorus/comm/group.h"
#include "chorus/train/config.h"

namespace chorus {

struct RunOptions {
  std::filesystem::path folder;
  bool accept_changes = false;  // go on with settings other than those the run was started with
  Group* group =
      nullptr;  // the ranks that train together, all with the same settings; null: this process alone
};

/// Why train() came back.
enum class Ending { done, out_of_time, no_better, interrupted };

/// Trains until the run is done, SIGINT or SIGTERM arrives (a second one ends the process at once), or the
/// validation stops improving; a checkpoint is then written and RUN/model stands. UserError on settings, text
/// or a run folder that cannot be used; Error when `train.skip_limit` updates in a row had no finite
/// gradient.
Ending train(const RunConfig& config, const RunOptions& options);

}  // namespace chorus
