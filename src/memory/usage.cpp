#include "memory/usage.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <utility>

#include <ATen/ops/from_blob.h>
#include <c10/core/CPUAllocator.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "base/error.h"
#include "memory/scratch_file.h"

namespace chorus::inline memory {

namespace {

class Count {
 public:
  int64_t add(int64_t bytes) {
    const int64_t sum = now_ += bytes;
    int64_t highest = peak_;
    while (sum > highest && !peak_.compare_exchange_weak(highest, sum)) {
    }
    return sum;
  }
  void restart() { peak_ = now_.load(); }
  [[nodiscard]] MemoryUse use() const { return {.now = now_, .peak = peak_}; }

 private:
  std::atomic<int64_t> now_ = 0, peak_ = 0;
};

Count device, host;

// A page for what is read from a file and written to it; other blocks are left to the allocator, which lays
// them out so that they don't compete for the same lines of the cache.
constexpr size_t kPage = 4096, kLine = 64;

void* allocate(size_t bytes, size_t alignment) {
  void* data = nullptr;
  if (::posix_memalign(&data, alignment, bytes) != 0) {
    throw Error("out of memory: {:.1f} MB more were wanted", static_cast<double>(bytes) * 1e-6);
  }
  return data;
}

/// Counts `bytes` more, or fewer, at `data`; libtorch's profilers are told as its own allocator tells them.
int64_t count_on_device(void* data, int64_t bytes) {
  const int64_t sum = device.add(bytes);
  c10::reportMemoryUsageToProfiler(data, bytes, sum, 0, c10::Device(c10::kCPU));
  return sum;
}

// In front of a block on the device: how many bytes were asked for. The allocator's size classes may reserve
// up to a quarter more, which nobody touches and so takes no memory.
struct alignas(kLine) Header {
  int64_t bytes;
};

void free_device(void* data) {
  if (!data) return;
  Header* const header = static_cast<Header*>(data) - 1;
  count_on_device(data, -header->bytes);
  std::free(header);
}

class CountingAllocator final : public c10::Allocator {
 public:
  int64_t budget = 0;

  at::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &free_device, c10::Device(c10::kCPU)};
    auto* const header = static_cast<Header*>(chorus::allocate(sizeof(Header) + bytes, kLine));
    header->bytes = static_cast<int64_t>(bytes);
    void* const data = header + 1;
    if (const int64_t sum = count_on_device(data, header->bytes); budget > 0 && sum > budget) {
      const int64_t held = sum - header->bytes;
      free_device(data);
      throw Error(
          "memory.device_budget: {:.1f} MB are held and {:.1f} more wanted, of {:.1f}; keep more on host or "
          "nvme, or make micro-batches smaller",
          static_cast<double>(held) * 1e-6, static_cast<double>(bytes) * 1e-6,
          static_cast<double>(budget) * 1e-6);
    }
    return {data, data, &free_device, c10::Device(c10::kCPU)};
  }
  at::DeleterFnPtr raw_deleter() const override { return &free_device; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

}  // namespace

DeviceMemoryCount::DeviceMemoryCount(int64_t budget) : before_(c10::GetCPUAllocator()) {
  static CountingAllocator allocator;  // blocks outlive any other owner
  allocator.budget = budget;
  c10::SetCPUAllocator(&allocator, 1);
}

DeviceMemoryCount::~DeviceMemoryCount() {
  c10::SetCPUAllocator(before_, 1);
}

MemoryUse device_memory() {
  return device.use();
}

at::Tensor allocate_on_host(int64_t elements, at::ScalarType type) {
  const size_t bytes = static_cast<size_t>(elements) * c10::elementSize(type);
  void* const data = allocate(std::max(bytes, kPage), kPage);
  const auto held = static_cast<int64_t>(bytes);
  host.add(held);
  const auto free_host = [held](void* block) {
    host.add(-held);
    std::free(block);
  };
  return at::from_blob(data, {elements}, free_host, at::TensorOptions(type));
}

int64_t bytes_in_blocks(int64_t width, at::ScalarType type) {
  constexpr auto kBlock = static_cast<int64_t>(ScratchFile::kBlock);
  return (width * static_cast<int64_t>(c10::elementSize(type)) + kBlock - 1) / kBlock * kBlock;
}

at::Tensor allocate_blocks_on_host(int64_t rows, int64_t width, at::ScalarType type) {
  const int64_t whole = bytes_in_blocks(width, type) / static_cast<int64_t>(c10::elementSize(type));
  return allocate_on_host(rows * whole, type).view({rows, whole});
}

MemoryUse host_memory() {
  return host.use();
}

int64_t machine_memory() {
  struct sysinfo machine {};
  if (::sysinfo(&machine) != 0) return std::numeric_limits<int64_t>::max();
  int64_t bytes = static_cast<int64_t>(machine.totalram + machine.totalswap) * machine.mem_unit;
  for (const char* const file :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
    int64_t limit = 0;
    if (std::ifstream(file) >> limit && limit > 0) bytes = std::min(bytes, limit);  // "max" is no number
  }
  for (const auto resource : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) == 0 && std::cmp_less(limit.rlim_cur, bytes))
      bytes = static_cast<int64_t>(limit.rlim_cur);
  }
  return bytes;
}

void restart_peaks() {
  device.restart();
  host.restart();
}

}  // namespace chorus::inline memory
