// The device that test_device tests, under the name that run files have for it.
#pragma once

#include <cstdlib>
#include <string>

#include "device/simulated.h"
#include "suite_device.h"

namespace chorus::testing {

/// As run files name it.
inline std::string device_name() {
  const char* const name = std::getenv("CHORUS_TEST_DEVICE");
  return name ? name : "simulated";
}

inline at::Device device() {
  return suite_device();
}

}  // namespace chorus::testing
