// An accelerator that is none: libtorch's device PrivateUse1 over memory that no code of the host can read. Its operators
// are the CPU's, run on copies, so results are the CPU's; what it finds is where host code takes a device's tensor for
// its own:
//
//   a host pointer to its memory, read or written        SIGSEGV
//   host and device tensors in one operation             c10::Error, as CUDA has it; scalars excepted
//   memory that is read before it was written            NaN, or -1 in whole numbers
//   memory that is used after it was freed               SIGSEGV, also within the device's own operators
//
// It has one stream, on which every operator has ended when it returns: missing waits are not found.
#pragma once

#include <cstdint>

#include <c10/core/Device.h>

namespace chorus::testing {

/// Registered with libtorch when the program starts.
inline const c10::Device kSimulated(c10::DeviceType::PrivateUse1, 0);

/// What was asked of it since the last call of this function.
struct DeviceCounts {
  int64_t kernels = 0;  // operators, but for views and empty tensors
  int64_t copies_to_device = 0, copies_to_host = 0;
  int64_t bytes_to_device = 0, bytes_to_host = 0;
  int64_t waits = 0;  // of the host for numbers: copies to it, and single numbers asked for
};
DeviceCounts take_counts();

}  // namespace chorus::testing
