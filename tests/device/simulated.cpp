#include "device/simulated.h"

#include <atomic>
#include <cstring>
#include <new>
#include <set>
#include <string>
#include <utility>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_cpu_dispatch.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_cpu_dispatch.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <sys/mman.h>
#include <torch/library.h>

namespace chorus::testing {

namespace {

struct Counters {
  std::atomic<int64_t> kernels, copies_to_device, copies_to_host, bytes_to_device, bytes_to_host,
      numbers_asked;
} counters;

/// Within an operator, whose copies are not the program's.
thread_local bool computing = false;

/// There are as many as ranks may want; each process uses one.
constexpr c10::DeviceIndex kDevices = 64;
thread_local c10::DeviceIndex current = 0;

/// Two stretches of address space of one length: what tensors point to, which nobody can touch, and the bytes behind
/// it. No part is given out twice, so that what was freed stays closed.
class Memory {
 public:
  struct Block {
    size_t at, room;
  };

  c10::DataPtr allocate(size_t size) {
    const size_t room = (size + kPage - 1) / kPage * kPage,
                 at = next_.fetch_add(room + kPage);  // a page stays closed
    if (at + room > kLength || (room > 0 && ::mprotect(bytes_ + at, room, PROT_READ | PROT_WRITE) != 0))
      throw std::bad_alloc();
    std::memset(bytes_ + at, 0xFF, room);  // NaN
    return {names_ + at, new Block{at, room}, &release, {kSimulated.type(), current}};
  }
  /// Where the bytes are of what a tensor points to.
  [[nodiscard]] void* bytes(const void* name) const {
    return name ? bytes_ + (static_cast<const char*>(name) - names_) : nullptr;
  }

 private:
  static constexpr size_t kPage = 4096, kLength = size_t{1} << 38;

  static char* reserve() {
    void* const at = ::mmap(nullptr, kLength, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    return static_cast<char*>(at);
  }
  static void release(void* context);

  char *const names_ = reserve(), *const bytes_ = reserve();
  std::atomic<size_t> next_ = 0;
};

Memory& memory() {
  static Memory& one = *new Memory;  // tensors may outlive it
  return one;
}

void Memory::release(void* context) {
  const Block block = *static_cast<Block*>(context);
  delete static_cast<Block*>(context);
  if (block.room == 0) return;
  ::madvise(memory().bytes_ + block.at, block.room, MADV_DONTNEED);
  ::mprotect(memory().bytes_ + block.at, block.room, PROT_NONE);
}

/// The tensor's bytes as a tensor of the host; the tensor must outlive it.
at::Tensor on_host(const at::Tensor& x) {
  if (x.is_cpu()) return x;
  return at::from_blob(memory().bytes(x.const_data_ptr()), x.sizes(), x.strides(),
                       x.options().device(at::kCPU));
}

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t size) override { return memory().allocate(size); }
  void copy_data(void* to, const void* from, size_t count) const override {
    std::memcpy(memory().bytes(to), memory().bytes(from), count);
  }
} allocator;

// ---- operators ----------------------------------------------------------------------------------------------------

at::Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<at::Layout> /*layout*/, std::optional<at::Device> device,
                 std::optional<bool> /*pinned*/, std::optional<at::MemoryFormat> format) {
  const c10::OptionalDeviceGuard there(device);
  return at::detail::empty_generic(size, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   type.value_or(at::kFloat), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> type,
                         std::optional<at::Layout> /*layout*/, std::optional<at::Device> device,
                         std::optional<bool> /*pinned*/) {
  const c10::OptionalDeviceGuard there(device);
  return at::detail::empty_strided_generic(size, stride, &allocator,
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           type.value_or(at::kFloat));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool /*non_blocking*/) {
  const auto bytes = static_cast<int64_t>(from.nbytes());
  if (!computing && from.is_cpu()) {
    ++counters.copies_to_device;
    counters.bytes_to_device += bytes;
  } else if (!computing && to.is_cpu()) {
    ++counters.copies_to_host;
    counters.bytes_to_host += bytes;
  } else if (!computing) {
    ++counters.kernels;
  }
  on_host(to).copy_(on_host(from));
  return to;
}

const at::Tensor& resize(const at::Tensor& self, c10::IntArrayRef size,
                         std::optional<at::MemoryFormat> /*format*/) {
  if (self.sizes() == size) return self;
  const c10::DeviceGuard there(self.device());
  c10::TensorImpl* const tensor = self.unsafeGetTensorImpl();
  c10::StorageImpl* const storage = self.storage().unsafeGetStorageImpl();
  const size_t needed = (self.storage_offset() + c10::multiply_integers(size)) * self.element_size();
  if (needed > storage->nbytes()) {
    c10::DataPtr data = allocator.allocate(needed);
    if (storage->nbytes() > 0) allocator.copy_data(data.get(), storage->data(), storage->nbytes());
    storage->set_data_ptr_noswap(std::move(data));
    storage->set_nbytes(needed);
  }
  tensor->set_sizes_contiguous(size);
  return self;
}

at::Tensor copy_from_and_resize(const at::Tensor& from, const at::Tensor& to) {
  to.resize_(from.sizes());
  return copy_from(from, to, false);
}

at::Scalar number(const at::Tensor& self) {
  if (!computing) ++counters.numbers_asked;
  return on_host(self).item();
}

/// Every other operator: the CPU's, on copies.
void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const bool outer = computing;
  if (!outer) ++counters.kernels;
  const auto check = [&](const at::Tensor& x) {
    TORCH_CHECK(!x.defined() || !x.is_cpu() || x.dim() == 0, op.schema().name(),
                ": a tensor of the host among those of the device");
  };
  for (const c10::IValue& argument : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (argument.isTensor()) check(argument.toTensor());
    if (argument.isTensorList())
      for (const at::Tensor& x : argument.toTensorVector()) check(x);
  }
  // What has a size that the device alone knows is waited for, as on a GPU.
  static const std::set<std::string> kSized = {"aten::nonzero", "aten::masked_select", "aten::_unique2",
                                               "aten::equal"};
  if (!outer && kSized.contains(op.schema().name())) ++counters.numbers_asked;
  computing = true;
  try {
    at::native::cpu_fallback(op, stack);
  } catch (...) {
    computing = outer;
    throw;
  }
  computing = outer;
}

// ---- what libtorch asks of a device -------------------------------------------------------------------------------

struct Guard final : c10::impl::DeviceGuardImplInterface {
  [[nodiscard]] c10::DeviceType type() const override { return kSimulated.type(); }
  [[nodiscard]] c10::Device exchangeDevice(c10::Device device) const override {
    return {type(), std::exchange(current, device.index())};
  }
  [[nodiscard]] c10::Device getDevice() const override { return {type(), current}; }
  void setDevice(c10::Device device) const override { current = device.index(); }
  void uncheckedSetDevice(c10::Device device) const noexcept override { current = device.index(); }
  [[nodiscard]] c10::Stream getStream(c10::Device device) const override { return stream(device); }
  [[nodiscard]] c10::Stream getDefaultStream(c10::Device device) const override { return stream(device); }
  [[nodiscard]] c10::Stream getStreamFromGlobalPool(c10::Device device, bool /*urgent*/) const override {
    return stream(device);
  }
  [[nodiscard]] c10::Stream exchangeStream(c10::Stream given) const override { return given; }
  [[nodiscard]] c10::DeviceIndex deviceCount() const noexcept override { return kDevices; }
  void record(void** event, const c10::Stream& /*stream*/, c10::DeviceIndex /*index*/,
              c10::EventFlag /*flag*/) const override {
    *event = nullptr;
  }
  void block(void* /*event*/, const c10::Stream& /*stream*/) const override {}
  [[nodiscard]] bool queryEvent(void* /*event*/) const override { return true; }
  [[nodiscard]] bool queryStream(const c10::Stream& /*stream*/) const override { return true; }
  void synchronizeStream(const c10::Stream& /*stream*/) const override {}
  void synchronizeEvent(void* /*event*/) const override {}
  void synchronizeDevice(c10::DeviceIndex /*index*/) const override {}

 private:
  static c10::Stream stream(c10::Device device) { return c10::Stream(c10::Stream::DEFAULT, device); }
};

struct Hooks final : at::PrivateUse1HooksInterface {
  [[nodiscard]] bool isBuilt() const override { return true; }
  [[nodiscard]] bool isAvailable() const override { return true; }
  [[nodiscard]] bool hasPrimaryContext(c10::DeviceIndex /*index*/) const override { return true; }
  [[nodiscard]] c10::DeviceIndex deviceCount() const override { return kDevices; }
  [[nodiscard]] c10::DeviceIndex getCurrentDevice() const override { return current; }
  /// at::manual_seed() wants one; nothing in chorus draws from it.
  [[nodiscard]] const at::Generator& getDefaultGenerator(c10::DeviceIndex /*index*/) const override {
    static const at::Generator unused = at::detail::createCPUGenerator();
    return unused;
  }
};

const bool kRegistered = [] {
  c10::register_privateuse1_backend("simulated");
  c10::SetAllocator(kSimulated.type(), &allocator);
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&compute>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", &empty);
  m.impl("empty_strided", &empty_strided);
  m.impl("_copy_from", &copy_from);
  m.impl("_copy_from_and_resize", &copy_from_and_resize);
  m.impl("_local_scalar_dense", &number);
  m.impl("resize_", &resize);
  m.impl("view", &at::cpu::view);
  m.impl("_reshape_alias", &at::cpu::_reshape_alias);
  m.impl("as_strided", &at::cpu::as_strided);
  m.impl("_grouped_mm", torch::CppFunction::makeFromBoxedFunction<&compute>());  // one kernel, as on a GPU
}

}  // namespace

DeviceCounts take_counts() {
  const int64_t to_host = counters.copies_to_host.exchange(0);
  return {.kernels = counters.kernels.exchange(0),
          .copies_to_device = counters.copies_to_device.exchange(0),
          .copies_to_host = to_host,
          .bytes_to_device = counters.bytes_to_device.exchange(0),
          .bytes_to_host = counters.bytes_to_host.exchange(0),
          .waits = to_host + counters.numbers_asked.exchange(0)};
}

}  // namespace chorus::testing
