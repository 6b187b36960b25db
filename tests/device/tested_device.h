// The device that test_device tests: the simulated one (simulated.h), or what CHORUS_TEST_DEVICE names.
#pragma once

#include <cstdlib>
#include <string>

#include "device/simulated.h"

namespace chorus::testing {

/// As run files name it.
inline std::string device_name() {
  const char* const name = std::getenv("CHORUS_TEST_DEVICE");
  return name ? name : "simulated";
}

inline at::Device device() {
  return {at::Device(device_name()).type(), 0};
}

/// Whether the same operations give the same bits there twice: on a GPU sums of some kinds have no fixed order.
inline bool repeats_bits() {
  return device() == kSimulated;
}

}  // namespace chorus::testing
