// The run folder: which process has it, and its settings, with which every later start is compared.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "io/files.h"
#include "train/config.h"
#include "train/trainer.h"

namespace chorus::inline train {

/// A run's folder while a start has it. Rank 0 makes it where it is missing, locks it, and takes away again
/// what it made where nothing has come to lie in it.
class RunFolder {
 public:
  /// Called by all ranks. UserError where it cannot be made, another run has it, or a rank finds another
  /// folder there, or none.
  RunFolder(std::filesystem::path path, Group& group);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

 private:
  std::filesystem::path path_;
  bool made_ = false;
  std::optional<FolderLock> lock_;
};

/// Compares the settings with RUN/run.toml, if it is there. UserError listing what differs unless
/// options.accept_changes or every difference may_change(); in a run that `has_weights`, where weights of
/// another shape or another vocabulary would follow, whatever is accepted. Changes nothing.
void check_settings(const RunConfig& config, const RunOptions& options, bool has_weights);

void write_settings(const RunConfig& config, const std::filesystem::path& run);

}  // namespace chorus::inline train
