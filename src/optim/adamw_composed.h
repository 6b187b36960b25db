// AdamW through libtorch's operators: the path of devices other than the CPU, and the reference of the tests.
#pragma once

#include "chorus/optim/adamw.h"

namespace chorus {

void adamw_step_composed(AdamWTensor& tensor, const AdamWStep& step);

}  // namespace chorus
