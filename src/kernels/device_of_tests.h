// How tests run kernels of ours for devices (kernels/internal/team.h) where there is no GPU.
#pragma once

#include <functional>

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

/// A device of the tests: bodies run on the calling thread, over memory that it opens.
class DeviceOfTests {
 public:
  virtual ~DeviceOfTests() = default;
  /// A kernel's operands are opened now.
  virtual void begin() = 0;
  /// Returns where the host finds the tensor's elements.
  virtual void* open(const at::Tensor& x, bool writes) = 0;
  /// Runs a kernel, by `work`, on what was opened since begin().
  virtual void run(const char* kernel, at::Device device, const std::function<void()>& work) = 0;
};

/// Lets kernels of ours run on `type` by `device` from here on; null: none do. Not while any run.
void set_device_of_tests(at::DeviceType type, DeviceOfTests* device);

}  // namespace chorus::inline kernels
