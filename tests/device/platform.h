// What the simulated device is to libtorch but for its operators: a guard with streams and events, and allocators.
#pragma once

#include <atomic>
#include <cstdint>

#include <c10/core/Allocator.h>
#include <c10/core/Stream.h>

namespace chorus::testing {

/// As DeviceCounts.
inline struct Counters {
  std::atomic<int64_t> kernels, copies_to_device, copies_to_host, bytes_to_device, bytes_to_host, waits;
  std::atomic<double> busy;
} counters;

// Of the calling thread.

c10::Device current_device();
c10::Stream current_stream(c10::Device device);

/// Allocates on the current device, for its current stream.
c10::Allocator& device_allocator();

}  // namespace chorus::testing
