// How much memory this process holds, tier by tier.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus::inline memory {

struct MemoryUse {
  int64_t now = 0, peak = 0;  // bytes; the peak since restart_peaks()
};

/// While one lives, what libtorch allocates on `device` is counted, for the whole process: on an accelerator what
/// is allocated there, as its allocator counts it (nothing, where libtorch has no statistics of it); on the CPU,
/// which is the device without one, all that libtorch allocates there. On the CPU an allocation that would bring
/// it above `budget` bytes (0: no limit) throws Error; elsewhere check_device_budget() finds it. One at a time;
/// peaks begin with it.
class DeviceMemoryCount {
 public:
  explicit DeviceMemoryCount(int64_t budget, at::Device device = at::kCPU);
  ~DeviceMemoryCount();
  DeviceMemoryCount(const DeviceMemoryCount&) = delete;
  DeviceMemoryCount& operator=(const DeviceMemoryCount&) = delete;

 private:
  at::Allocator* before_;
};
MemoryUse device_memory();
/// Error where the device's peak is above the budget.
void check_device_budget();
/// What a device has that nobody has taken; 0 where libtorch does not say.
int64_t free_memory_of(at::Device device);
/// What libtorch's libraries keep there for their own use once they have computed; it counts as device_memory().
int64_t workspaces_of(at::Device device);

// Memory of the host, counted as such; undefined contents. Where `device` is an accelerator for which libtorch has
// it, page-locked memory, with which copies to and from that device are fast and need not be waited for.

/// [elements]. Its address is a multiple of 4 KiB.
at::Tensor allocate_on_host(int64_t elements, at::ScalarType type, at::Device device = at::kCPU);
/// Many, each [elements], in few allocations: libtorch's page-locked ones are rounded up to a power of two.
std::vector<at::Tensor> allocate_on_host(std::span<const int64_t> elements, at::ScalarType type,
                                         at::Device device);
/// Allocates the same for rows of at least `width` elements, each of whole blocks of a ScratchFile: [rows, width or
/// more].
at::Tensor allocate_blocks_on_host(int64_t rows, int64_t width, at::ScalarType type,
                                   at::Device device = at::kCPU);
/// Bytes of one of those rows.
int64_t bytes_in_blocks(int64_t width, at::ScalarType type);
MemoryUse host_memory();

/// The most that processes of this machine may have: memory and swap, the container's limit, ulimit's.
int64_t machine_memory();

/// What this process may take of it beside what is taken now; swap does not count.
int64_t free_memory();

/// Bytes that the weights of a model may take in each of `processes` of this machine: "8GB" and the like, or "auto",
/// four fifths of free_memory(). 0 for "". UserError naming `option`.
uint64_t memory_for_weights(const std::string& text, std::string_view option, int processes = 1);

/// Forgets the peaks so far: from here on they count from what is held now.
void restart_peaks();

}  // namespace chorus::inline memory
