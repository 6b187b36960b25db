#include "kernels/internal/launch.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "base/error.h"
#include "kernels/device.h"

namespace chorus::inline kernels {

namespace {

DeviceOfTests* device_of_tests = nullptr;
at::DeviceType its_type = at::kCPU;

}  // namespace

void set_device_of_tests(at::DeviceType type, DeviceOfTests* device) {
  its_type = type;
  device_of_tests = device;
}

bool runs_kernels(at::Device device) {
#ifdef CHORUS_CUDA_KERNELS
  if (is_nvidia(device)) return true;
#endif
  return device_of_tests && device.type() == its_type;
}

Launch::Launch(const char* kernel, at::Device device)
    : kernel_(kernel), device_(device), tests_(device.type() == its_type ? device_of_tests : nullptr) {
  if (tests_) tests_->begin();
}

void* Launch::open(const at::Tensor& x, bool writes) const {
  if (!x.defined() || x.numel() == 0) return nullptr;
  if (!x.is_contiguous() || x.device() != device_)
    throw Error("{}: an operand is not contiguous, or lies elsewhere", kernel_);
  if (tests_) return tests_->open(x, writes);
  return writes ? x.mutable_data_ptr() : const_cast<void*>(x.const_data_ptr());
}

void Launch::check(const char* error) const {
  if (error) throw Error("{}: the device cannot start it: {}", kernel_, error);
}

void* Launch::stream() const {
  return c10::impl::VirtualGuardImpl(device_.type()).getStream(device_).native_handle();
}

}  // namespace chorus::inline kernels
