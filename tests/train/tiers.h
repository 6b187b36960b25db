// For tests: short names of tiers.
#pragma once

#include "chorus/memory/config.h"

namespace chorus {

inline constexpr Tier kDevice = Tier::device, kHost = Tier::host, kNvme = Tier::nvme;

}  // namespace chorus
