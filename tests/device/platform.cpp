#include "device/platform.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "device/arena.h"
#include "device/counted_allocator.h"
#include "device/order.h"
#include "device/simulated.h"

namespace chorus::testing {

namespace {

/// There are as many as ranks may want; each process uses one.
constexpr c10::DeviceIndex kDevices = 64;
thread_local c10::DeviceIndex current = 0;

/// Of the calling thread: its stream of each device. 0 is the default one.
thread_local std::array<c10::StreamId, kDevices> current_streams = {};
constexpr c10::StreamId kPool = 32;  // streams that are handed out in turn, as CUDA's

void release(void* name);

struct Allocator final : CountedAllocator {
  c10::DataPtr allocate(size_t size) override {
    count(static_cast<int64_t>(size));
    const c10::Device device = current_device();
    void* const name = device_arena().allocate(size);
    allocated(name, size, current_stream(device));
    return {name, name, &release, device};
  }
  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(device_arena().behind(to), device_arena().behind(from), bytes);
  }
} device_memory;

void release(void* name) {
  const size_t bytes = freed(name);
  device_memory.count(-static_cast<int64_t>(bytes));
  device_arena().release(name, bytes);
}

constexpr size_t kWithinPage =
    512;  // where page-locked memory begins: CUDA's small blocks do at any multiple

void release_page_locked(void* name) {
  pinned_arena().release(static_cast<char*>(name) - kWithinPage, freed(name) + kWithinPage);
}

struct PageLockedAllocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override {
    void* const name = static_cast<char*>(pinned_arena().allocate(size + kWithinPage)) + kWithinPage;
    allocated_page_locked(name, size);
    return {name, name, &release_page_locked, c10::Device(at::kCPU)};
  }
  void copy_data(void* to, const void* from, size_t count) const override { std::memcpy(to, from, count); }
} page_locked_memory;

struct Guard final : c10::impl::DeviceGuardImplInterface {
  [[nodiscard]] c10::DeviceType type() const override { return kSimulated.type(); }
  [[nodiscard]] c10::Device exchangeDevice(c10::Device device) const override {
    return {type(), std::exchange(current, device.index())};
  }
  [[nodiscard]] c10::Device getDevice() const override { return {type(), current}; }
  void setDevice(c10::Device device) const override { current = device.index(); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { current = device.index(); }
  [[nodiscard]] c10::Stream getStream(c10::Device device) const override { return current_stream(device); }
  [[nodiscard]] c10::Stream getDefaultStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  [[nodiscard]] c10::Stream getStreamFromGlobalPool(c10::Device device, bool /*urgent*/) const override {
    static std::atomic<c10::StreamId> handed_out = 0;
    return c10::Stream(c10::Stream::UNSAFE, device, handed_out++ % kPool + 1);
  }
  [[nodiscard]] c10::Stream exchangeStream(c10::Stream stream) const override {
    const c10::Stream before = current_stream(stream.device());
    current_streams.at(stream.device_index()) = stream.id();
    return before;
  }
  [[nodiscard]] c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }

  // An event is a Moment.
  void record(void** event, const c10::Stream& stream, c10::DeviceIndex /*index*/,
              c10::EventFlag /*flag*/) const override {
    if (!*event) *event = new Moment;
    *static_cast<Moment*>(*event) = present(stream);
  }
  void destroyEvent(void* event, c10::DeviceIndex /*index*/) const noexcept override {
    delete static_cast<Moment*>(event);
  }
  void block(void* event, const c10::Stream& stream) const override {
    let_wait(stream, *static_cast<Moment*>(event));
  }
  void synchronizeEvent(void* event) const override {
    ++counters.waits;
    host_waits(*static_cast<Moment*>(event));
  }
  void synchronizeStream(const c10::Stream& stream) const override {
    ++counters.waits;
    host_waits(present(stream));
  }
  void synchronizeDevice(c10::DeviceIndex index) const override {
    ++counters.waits;
    host_waits(index);
  }
  // Whoever asks has to wait no more.
  [[nodiscard]] bool queryEvent(void* event) const override {
    host_waits(*static_cast<Moment*>(event));
    return true;
  }
  [[nodiscard]] bool queryStream(const c10::Stream& stream) const override {
    host_waits(present(stream));
    return true;
  }
  void recordDataPtrOnStream(const c10::DataPtr& data, const c10::Stream& stream) const override {
    record_use(data.get(), stream);
  }
};

struct Hooks final : at::PrivateUse1HooksInterface {
  [[nodiscard]] bool isBuilt() const override { return true; }
  [[nodiscard]] bool isAvailable() const override { return true; }
  [[nodiscard]] bool hasPrimaryContext(c10::DeviceIndex /*index*/) const override { return true; }
  [[nodiscard]] c10::DeviceIndex deviceCount() const override { return kDevices; }
  [[nodiscard]] c10::DeviceIndex getCurrentDevice() const override { return current; }
  [[nodiscard]] bool isPinnedPtr(const void* data) const override { return pinned_arena().has(data); }
  [[nodiscard]] c10::Allocator* getPinnedMemoryAllocator() const override { return &page_locked_memory; }
  /// at::manual_seed() wants one; nothing in chorus draws from it.
  [[nodiscard]] const at::Generator& getDefaultGenerator(c10::DeviceIndex /*index*/) const override {
    static const at::Generator unused = at::detail::createCPUGenerator();
    return unused;
  }
};

/// Not where another device is tested, for which libtorch would take it: it asks for the one accelerator.
const bool kRegistered = [] {
  const char* const tested = std::getenv("CHORUS_TEST_DEVICE");
  if (tested && tested != std::string_view("simulated")) return false;
  c10::register_privateuse1_backend("simulated");
  c10::SetAllocator(kSimulated.type(), &device_memory);
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

}  // namespace

c10::Device current_device() {
  return {kSimulated.type(), current};
}

c10::Stream current_stream(c10::Device device) {
  const c10::DeviceIndex index = device.has_index() ? device.index() : current;
  return c10::Stream(c10::Stream::UNSAFE, {device.type(), index}, current_streams.at(index));
}

c10::Allocator& device_allocator() {
  return device_memory;
}

}  // namespace chorus::testing
