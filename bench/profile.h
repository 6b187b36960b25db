// Where a repetition's time goes, operator by operator.
#pragma once

#include <functional>

#include "work.h"

namespace chorus::bench {

/// Runs `work` under libtorch's profiler. "seconds": it took, profiled; "busy": of these, in which the device computed
/// or copied (kernels on several streams at once count once; on a CPU, in which an operator ran); "waits": for the
/// device, and their "waits_seconds"; "kernels": [{"name", "count", "seconds", "idle"}], the longest together first;
/// "idle": nothing was under way before they began. "calls": the same of the host's calls of the device's library.
Json profile(const std::function<void()>& work);

}  // namespace chorus::bench
