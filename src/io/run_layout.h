// Where things lie in the folder of a run (docs/files.md): the names that several modules look for.
#pragma once

#include <filesystem>
#include <vector>

namespace chorus::inline io {

constexpr const char* kRunFile = "run.toml";                   // the settings, from the first update on
constexpr const char* kRunMetrics = "metrics.jsonl";           // a record per report and validation
constexpr const char* kRunTranslations = "translations.json";  // of the best model's validation
constexpr const char* kRunModel = "model";                     // the best model so far
constexpr const char* kRunCheckpoints = "checkpoints";         // CheckpointStore's folder
constexpr const char* kCheckpointPrefix = "step-";             // then the number of its update

/// Returns the folders of a run's checkpoints, the oldest first, without a look at what is in them. Error where the run
/// cannot be read; none where there is no run.
std::vector<std::filesystem::path> checkpoint_folders(const std::filesystem::path& run);

}  // namespace chorus::inline io
