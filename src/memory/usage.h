// How much memory this process holds, tier by tier.
#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace chorus::inline memory {

struct MemoryUse {
  int64_t now = 0, peak = 0;  // bytes; the peak since restart_peaks()
};

/// While one lives, what libtorch allocates on the CPU is counted, for the whole process: without a GPU that
/// is the device. An allocation that would bring it above `budget` bytes (0: no limit) throws Error. One at a
/// time.
class DeviceMemoryCount {
 public:
  explicit DeviceMemoryCount(int64_t budget);
  ~DeviceMemoryCount();
  DeviceMemoryCount(const DeviceMemoryCount&) = delete;
  DeviceMemoryCount& operator=(const DeviceMemoryCount&) = delete;

 private:
  at::Allocator* before_;
};
MemoryUse device_memory();

/// A tensor of `elements` in the host's memory, counted as such, its address a multiple of 4 KiB; undefined
/// contents.
at::Tensor allocate_on_host(int64_t elements, at::ScalarType type);
/// The same for rows of at least `width` elements, each of whole blocks of a ScratchFile: [rows, width or
/// more].
at::Tensor allocate_blocks_on_host(int64_t rows, int64_t width, at::ScalarType type);
/// Bytes of one of those rows.
int64_t bytes_in_blocks(int64_t width, at::ScalarType type);
MemoryUse host_memory();

/// The most that processes of this machine may have: memory and swap, the container's limit, ulimit's.
int64_t machine_memory();

/// Forgets the peaks so far: from here on they count from what is held now.
void restart_peaks();

}  // namespace chorus::inline memory
