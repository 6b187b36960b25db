#include "memory/usage.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>

#include <ATen/Context.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/CPUAllocator.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>

#include "base/cgroups.h"
#include "base/error.h"
#include "kernels/device.h"
#include "memory/block_file.h"
#include "memory/config.h"

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

// Of the DeviceMemoryCount that lives.
at::Device counted = at::kCPU;
int64_t device_budget = 0;

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
  at::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, nullptr, &free_device, c10::Device(c10::kCPU)};
    auto* const header = static_cast<Header*>(chorus::allocate(sizeof(Header) + bytes, kLine));
    header->bytes = static_cast<int64_t>(bytes);
    void* const data = header + 1;
    if (const int64_t sum = count_on_device(data, header->bytes); device_budget > 0 && sum > device_budget) {
      const int64_t held = sum - header->bytes;
      free_device(data);
      throw Error(
          "memory.device_budget: {:.1f} MB are held and {:.1f} more wanted, of {:.1f}; keep more on host or "
          "nvme, or make micro-batches smaller",
          static_cast<double>(held) * 1e-6, static_cast<double>(bytes) * 1e-6,
          static_cast<double>(device_budget) * 1e-6);
    }
    return {data, data, &free_device, c10::Device(c10::kCPU)};
  }
  at::DeleterFnPtr raw_deleter() const override { return &free_device; }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }
};

/// What allocates on an accelerator; null where it has no statistics, or was not used yet.
c10::DeviceAllocator* allocator_of(at::Device accelerator) {
  auto* const found = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(accelerator.type()));
  return found && found->initialized() ? found : nullptr;
}

/// What allocates page-locked memory for a device; null where nothing does.
c10::Allocator* page_locking(at::Device accelerator) {
  if (is_host(accelerator)) return nullptr;
  try {
    return at::globalContext().getPinnedMemoryAllocator(accelerator.type());
  } catch (const c10::Error&) {  // libtorch has none for it
    return nullptr;
  }
}

/// How many of `sizes` share an allocation: so many that least is lost when it is rounded up to a power of two.
size_t in_one_piece(std::span<const int64_t> sizes) {
  size_t best = 1;
  double most_used = 0;
  uint64_t sum = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    sum += sizes[i];
    const double used = static_cast<double>(sum) / static_cast<double>(std::bit_ceil(sum));
    if (used < most_used) continue;
    most_used = used;
    best = i + 1;
  }
  return best;
}

/// Returns where in `block` a page begins.
void* first_page(const c10::DataPtr& block) {
  const auto address = reinterpret_cast<uintptr_t>(block.get());
  return static_cast<char*>(block.get()) + (kPage - address % kPage) % kPage;
}

/// Page-locked, from a page's begin on. CUDA gives small blocks any multiple of 512, larger ones whole pages.
std::shared_ptr<void> page_locked(c10::Allocator& allocator, size_t bytes) {
  auto owner = std::make_shared<c10::DataPtr>(allocator.allocate(bytes));
  if (first_page(*owner) != owner->get())
    owner = std::make_shared<c10::DataPtr>(allocator.allocate(bytes + kPage));
  return {owner, first_page(*owner)};
}

/// Bytes of the host's memory, as long as the tensor lives.
at::Tensor host_block(int64_t bytes, at::Device accelerator) {
  std::shared_ptr<void> data;
  if (c10::Allocator* const allocator = page_locking(accelerator)) {
    data = page_locked(*allocator, std::max<size_t>(static_cast<size_t>(bytes), 1));
  } else {
    data.reset(allocate(std::max(static_cast<size_t>(bytes), kPage), kPage), &std::free);
  }
  host.add(bytes);
  void* const begin = data.get();
  const auto free_host = [data = std::move(data), bytes](void* /*begin*/) mutable {
    data.reset();
    host.add(-bytes);
  };
  return at::from_blob(begin, {bytes}, free_host, at::TensorOptions(at::kByte));
}

}  // namespace

DeviceMemoryCount::DeviceMemoryCount(int64_t budget, at::Device of) : before_(c10::GetCPUAllocator()) {
  static CountingAllocator allocator;  // blocks outlive any other owner
  counted = of;
  device_budget = budget;
  if (is_host(counted)) c10::SetCPUAllocator(&allocator, 1);
  restart_peaks();
}

DeviceMemoryCount::~DeviceMemoryCount() {
  c10::SetCPUAllocator(before_, 1);
  counted = at::kCPU;
}

MemoryUse device_memory() {
  if (is_host(counted)) return device.use();
  c10::DeviceAllocator* const allocator = allocator_of(counted);
  if (!allocator) return {};
  const auto bytes = allocator->getDeviceStats(counted.index()).allocated_bytes.front();  // of all sizes
  return {.now = bytes.current, .peak = bytes.peak};
}

void check_device_budget() {
  if (const int64_t peak = device_memory().peak; device_budget > 0 && peak > device_budget) {
    throw Error(
        "memory.device_budget: {:.1f} MB were held, of {:.1f}; keep more on host or nvme, or make "
        "micro-batches smaller",
        static_cast<double>(peak) * 1e-6, static_cast<double>(device_budget) * 1e-6);
  }
}

int64_t free_memory_of(at::Device accelerator) {
  auto* const allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(accelerator.type()));
  try {
    return allocator ? static_cast<int64_t>(allocator->getMemoryInfo(accelerator.index()).first) : 0;
  } catch (const c10::Error&) {  // it does not say
    return 0;
  }
}

int64_t workspaces_of(at::Device accelerator) {
  constexpr int64_t kWorkspace = int64_t{32}
                                 << 20;  // of cuBLAS, for each thread that computes: forward's and backward's
  return is_nvidia(accelerator) ? 2 * kWorkspace : 0;
}

at::Tensor allocate_on_host(int64_t elements, at::ScalarType type, at::Device accelerator) {
  return allocate_on_host(std::span(&elements, 1), type, accelerator).front();
}

std::vector<at::Tensor> allocate_on_host(std::span<const int64_t> elements, at::ScalarType type,
                                         at::Device accelerator) {
  const auto size = static_cast<int64_t>(c10::elementSize(type));
  std::vector<at::Tensor> tensors;
  tensors.reserve(elements.size());
  while (!elements.empty()) {
    const auto piece = elements.first(page_locking(accelerator) ? in_one_piece(elements) : elements.size());
    elements = elements.subspan(piece.size());
    const at::Tensor block =
        host_block(size * std::accumulate(piece.begin(), piece.end(), int64_t{0}), accelerator);
    int64_t at = 0;
    for (const int64_t n : piece) {
      tensors.push_back(block.narrow(0, at, size * n).view(type));
      at += size * n;
    }
  }
  return tensors;
}

int64_t bytes_in_blocks(int64_t width, at::ScalarType type) {
  constexpr auto kBlock = static_cast<int64_t>(BlockFile::kBlock);
  return (width * static_cast<int64_t>(c10::elementSize(type)) + kBlock - 1) / kBlock * kBlock;
}

at::Tensor allocate_blocks_on_host(int64_t rows, int64_t width, at::ScalarType type, at::Device accelerator) {
  const int64_t whole = bytes_in_blocks(width, type) / static_cast<int64_t>(c10::elementSize(type));
  return allocate_on_host(rows * whole, type, accelerator).view({rows, whole});
}

MemoryUse host_memory() {
  return host.use();
}

int64_t machine_memory() {
  struct sysinfo machine {};
  if (::sysinfo(&machine) != 0) return std::numeric_limits<int64_t>::max();
  int64_t bytes = static_cast<int64_t>(machine.totalram + machine.totalswap) * machine.mem_unit;
  bytes = std::min(bytes, memory_quota().bytes);
  for (const auto resource : {RLIMIT_AS, RLIMIT_DATA}) {
    rlimit limit{};
    if (::getrlimit(resource, &limit) == 0 && std::cmp_less(limit.rlim_cur, bytes))
      bytes = static_cast<int64_t>(limit.rlim_cur);
  }
  return bytes;
}

int64_t free_memory() {
  int64_t available = 0;
  std::ifstream lines("/proc/meminfo");
  std::string name;
  for (int64_t kib = 0; lines >> name >> kib; lines.ignore(80, '\n'))
    if (name == "MemAvailable:") available = kib * 1024;
  return std::min(available, memory_quota().left);
}

uint64_t memory_for_weights(const std::string& text, std::string_view option, int processes) {
  constexpr double kWeights = 0.8;  // of what is free: the rest is for what is computed
  if (text == "auto") return static_cast<uint64_t>(kWeights * static_cast<double>(free_memory()) / processes);
  return static_cast<uint64_t>(parse_bytes(text, option));
}

void restart_peaks() {
  device.restart();
  host.restart();
  if (c10::DeviceAllocator* const allocator = is_host(counted) ? nullptr : allocator_of(counted))
    allocator->resetPeakStats(counted.index());
}

}  // namespace chorus::inline memory
