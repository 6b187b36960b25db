// For tests: short names of tiers.
#pragma once

#include "memory/config.h"

namespace chorus {

inline constexpr Tier kDevice = Tier::device, kHost = Tier::host, kNvme = Tier::nvme;

}  // namespace chorus
