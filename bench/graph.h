// What the device is given, as a CUDA graph.
#pragma once

#include <functional>

namespace chorus::bench {

/// Runs `work` once, captures it on the current CUDA device, and returns what replays it. What it has allocated is used
/// again each time. std::runtime_error in a build without CUDA.
std::function<void()> captured(const std::function<void()>& work);

}  // namespace chorus::bench
