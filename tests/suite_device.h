// Where some suites of nn, model, decode and train compute: on the host, and once more, within test_device, on the
// device that it tests.
// CHORUS_TEST_DEVICE=cuda takes that device in any of these programs.
#pragma once

#include <cstdlib>

#include <ATen/core/Tensor.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace chorus {

/// Known once main() has begun.
inline at::Device suite_device() {
  if (const char* const name = std::getenv("CHORUS_TEST_DEVICE")) return {at::Device(name).type(), 0};
  const at::Device simulated(at::kPrivateUse1, 0);  // device/simulated.h
  return c10::impl::hasDeviceGuardImpl(simulated.type()) ? simulated : at::kCPU;
}

/// Whether the same operations give the same bits there twice: on a GPU sums of some kinds have no fixed order.
inline bool repeats_bits() {
  return suite_device().is_cpu() || suite_device().is_privateuseone();
}

inline at::TensorOptions there(at::ScalarType type) {
  return at::TensorOptions(type).device(suite_device());
}
inline at::Tensor there(const at::Tensor& x) {
  return x.defined() ? x.to(suite_device()) : x;
}

}  // namespace chorus
