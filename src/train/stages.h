// Several trainings in one run file, one after the other: [[train.stage]].
//
//   [[train.stage]]             a folder RUN/a that is a run like any other
//   name = "a"
//   set = ["seed=1"]
//
//   [[train.stage]]
//   name = "b"
//   set = ["seed=2"]
//
//   [[train.stage]]             begins with the experts of both (aggregation of experts, 2109.10465, section
//   name = "large"              3.2), which are merged into RUN/large.init
//   init = ["a", "b"]
//   set = ["moe.experts=16", "train.duration=5e"]
//
// What stands elsewhere in the run file is what all stages have in common.
#pragma once

#include <filesystem>
#include <vector>

#include "train/trainer.h"

namespace chorus::inline train {

/// Trains the stages in order, each as train() would; where there is none, this is train(). Starting again
/// goes on where it stopped. UserError as train(), of any stage before the first one trains (vocabularies and
/// token stores of all are made then), and where stages contradict each other.
Ending train_stages(const RunConfig& config, const RunOptions& options);

/// The run of each stage, for the planner: where a stage begins with earlier ones, it has their model,
/// merged, and no train.init. UserError where stages contradict each other.
std::vector<RunConfig> stage_settings(const RunConfig& config);

/// The folder of the last stage's run, or of the run itself: there the model is.
std::filesystem::path last_run(const RunConfig& config, const std::filesystem::path& folder);

}  // namespace chorus::inline train
