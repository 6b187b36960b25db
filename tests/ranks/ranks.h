// All ranks of the test program.
#pragma once

#include "comm/group.h"

namespace chorus {
Group& ranks();
}  // namespace chorus
