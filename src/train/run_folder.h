// The run folder's settings: written once, compared at every later start.
#pragma once

#include <string>

#include "chorus/train/config.h"
#include "chorus/train/trainer.h"

namespace chorus {

/// Writes RUN/run.toml, or holds the settings against the one that is there: UserError listing what differs
/// unless options.accept_changes or every difference may_change().
void claim_settings(const RunConfig& config, const RunOptions& options);

/// Called by all ranks once rank 0 holds the folder's lock: UserError where a rank finds another folder
/// there, or none.
void check_shared(const std::filesystem::path& folder, Group& group);

/// All settings, as in RUN/run.toml.
std::string settings_text(RunConfig config);

}  // namespace chorus
