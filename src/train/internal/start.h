// Everything that a run needs, checked in full before it changes anything.
#pragma once

#include <memory>
#include <optional>

#include "data/batches.h"
#include "formats/folder.h"
#include "train/job.h"
#include "train/state.h"
#include "train/trainer.h"

#include "train/internal/inputs.h"
#include "train/internal/run_files.h"

namespace chorus::inline train {

struct Start {
  Mesh mesh;
  std::optional<Checkpoint> checkpoint;  // to go on from
  TrainState state;                      // that of the checkpoint, or of a beginning
  std::unique_ptr<Data> data;
  std::unique_ptr<BatchStream> stream;  // of data->train, at state.position
  ModelConfig model;                    // with the vocabulary's size
  SettledMemory memory;
};

/// Settings, mesh, checkpoint, vocabulary, text, batches and memory, in that order. UserError where one does
/// not go with the others, or with what the folder holds; of the folder nothing has then changed but that a
/// vocabulary and token stores may be there, which the next start takes only where they are its own.
/// `initial`: the model of train.init. Called by all ranks; rank 0 holds the folder.
Start prepare(const RunConfig& config, const RunOptions& options, const ModelDescription* initial,
              RunFiles& files, Group& group);

/// Prepares a run and stops before its first update, with the messages that train() would log up to there.
/// Returns the model that the run would begin with.
ModelDescription check_start(const RunConfig& config, const RunOptions& options,
                             const ModelDescription* initial);

}  // namespace chorus::inline train
