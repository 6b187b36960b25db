// An accelerator that is none: libtorch's device PrivateUse1 over memory that no code of the host can read. Its
// operators are the CPU's, run on copies, so results are the CPU's; what it finds is where host code takes a device's
// tensor for its own:
//
//   a host pointer to its memory, read or written        SIGSEGV
//   host and device tensors in one operation             c10::Error, as CUDA has it; scalars excepted
//   memory that is read before it was written            NaN, or -1 in whole numbers
//   memory that is used after it was freed               SIGSEGV, also within the device's own operators
//
// It has streams, events and page-locked memory as GPUs have. An operator has ended when it returns, whichever stream
// it was given to, but the host and other streams must not count on that:
//
//   an operator touches memory of the device that another stream wrote (or, where it writes, read), and no event or
//   waiting of the host orders the two                                     c10::Error that names both operators
//   memory is freed that another stream than its own may still use         one line, and the program ends
//   the host touches page-locked memory to which a copy is under way, or
//   writes where one comes from, before it has waited for it               SIGSEGV
//
// That is found in every run, not by luck: streams count what they are given, and each wait hands on these counts
// (vector clocks, as in ThreadSanitizer), so that it does not matter how fast anything is. Memory is what lies between
// a tensor's first byte and its last: two streams must not write every other column of a matrix. What one thread of the
// host has waited for, all know. Of page-locked memory, pages are closed that are part of the copy as a whole.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <c10/core/Device.h>

namespace chorus::testing {

/// Registered with libtorch when the program starts.
inline const c10::Device kSimulated(c10::DeviceType::PrivateUse1, 0);

/// What was asked of it since the last call of this function.
struct DeviceCounts {
  int64_t kernels = 0;  // operators, but for views and empty tensors
  int64_t copies_to_device = 0, copies_to_host = 0;
  int64_t bytes_to_device = 0, bytes_to_host = 0;
  int64_t waits = 0;  // of the host: for copies to it, single numbers, events and streams
  double busy = 0;    // seconds of the simulated clock for which its streams were busy, all added up
};
DeviceCounts take_counts();

/// What the device is given while `work` runs, by any thread, a line each: what it is called, its stream, and how many
/// bytes it reads and writes; or how much memory is allocated.
std::vector<std::string> recorded(const std::function<void()>& work);

/// Whether it runs kernels of ours (kernels/internal/launch.h), as CUDA does, or libtorch's operators alone, as any
/// other device. It does, until told otherwise; not while anything runs.
void run_own_kernels(bool on);

/// The simulated clock, in seconds. Each stream has a time. An operator takes it a launch, and what its memory or its
/// arithmetic takes at these rates a second, whichever is longer; products alone have arithmetic. Who waits goes to the
/// later of both times; so has each thread of the host a time. It takes none but where it waits, and in AdamW and its
/// norm, which pass over the host's memory.
struct DeviceRates {
  static constexpr double launch = 5e-6;
  static constexpr double memory = 3e12, link = 50e9;  // bytes, of the device and between it and the host
  static constexpr double host_memory = 100e9;
  static constexpr double products = 500e12;  // multiplications and additions
};
/// What was taken since the last call of this function: until the last of the device's streams and the calling thread
/// had ended.
double take_device_time();

}  // namespace chorus::testing
