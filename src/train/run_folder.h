// The run folder's settings: written once, compared at every later start.
#pragma once

#include <string>

#include "chorus/train/config.h"
#include "chorus/train/trainer.h"

namespace chorus {

/// Writes RUN/run.toml, or holds the settings against the one that is there: UserError listing what differs
/// unless options.accept_changes or every difference may_change().
void claim_settings(const RunConfig& config, const RunOptions& options);

/// All settings, as in RUN/run.toml.
std::string settings_text(RunConfig config);

}  // namespace chorus
