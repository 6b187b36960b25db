#include "device/simulated.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <ATen/EmptyTensor.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/ops/_reshape_alias_cpu_dispatch.h>
#include <ATen/ops/as_strided_cpu_dispatch.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/view_cpu_dispatch.h>
#include <c10/core/DeviceGuard.h>
#include <torch/library.h>

#include "device/arena.h"
#include "device/order.h"
#include "device/platform.h"

namespace chorus::testing {

namespace {

/// Within an operator, whose copies are not the program's.
thread_local bool computing = false;

struct Computing {
  const bool outer = std::exchange(computing, true);
  Computing() = default;
  Computing(const Computing&) = delete;
  Computing& operator=(const Computing&) = delete;
  ~Computing() { computing = outer; }
};

bool is_page_locked(const at::Tensor& x) {
  return pinned_arena().has(x.const_data_ptr());
}

/// The bytes of a tensor of the device, or of page-locked memory, as a tensor of the host; the tensor must outlive it.
at::Tensor on_host(const at::Tensor& x) {
  const Arena& arena = x.is_cpu() ? pinned_arena() : device_arena();
  void* const bytes = x.const_data_ptr() ? arena.behind(x.const_data_ptr()) : nullptr;
  return at::from_blob(bytes, x.sizes(), x.strides(), x.options().device(at::kCPU));
}

/// Bytes from the first to behind the last.
size_t extent(const at::Tensor& x) {
  if (x.numel() == 0) return 0;
  int64_t last = 0;
  for (int64_t d = 0; d < x.dim(); ++d) last += (x.size(d) - 1) * x.stride(d);
  return (last + 1) * x.element_size();
}

// ---- operators ----------------------------------------------------------------------------------------------------

at::Tensor empty(c10::IntArrayRef size, std::optional<at::ScalarType> type,
                 std::optional<at::Layout> /*layout*/, std::optional<at::Device> device,
                 std::optional<bool> /*pinned*/, std::optional<at::MemoryFormat> format) {
  const c10::OptionalDeviceGuard there(device);
  return at::detail::empty_generic(size, &device_allocator(),
                                   c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                   type.value_or(at::kFloat), format);
}

at::Tensor empty_strided(c10::IntArrayRef size, c10::IntArrayRef stride, std::optional<at::ScalarType> type,
                         std::optional<at::Layout> /*layout*/, std::optional<at::Device> device,
                         std::optional<bool> /*pinned*/) {
  const c10::OptionalDeviceGuard there(device);
  return at::detail::empty_strided_generic(size, stride, &device_allocator(),
                                           c10::DispatchKeySet(c10::DispatchKey::PrivateUse1),
                                           type.value_or(at::kFloat));
}

at::Tensor copy_from(const at::Tensor& from, const at::Tensor& to, bool non_blocking) {
  if (computing) {
    (to.is_cpu() ? to : on_host(to)).copy_(from.is_cpu() ? from : on_host(from));
    return to;
  }
  const auto bytes = static_cast<int64_t>(from.nbytes());
  const bool arrives = from.is_cpu(), leaves = to.is_cpu();
  // What is converted, or is not in one piece, goes through memory of libtorch's own, as with CUDA.
  const bool direct = (arrives ? is_page_locked(from) : is_page_locked(to)) &&
                      from.scalar_type() == to.scalar_type() && from.is_contiguous() && to.is_contiguous();
  Operation copy("aten::copy_", current_stream(arrives ? to.device() : from.device()));
  if (!arrives || direct) copy.reads(from.const_data_ptr(), extent(from));
  if (!leaves || direct) copy.writes(to.const_data_ptr(), extent(to));
  (leaves && !direct ? to : on_host(to)).copy_(arrives && !direct ? from : on_host(from));
  if (arrives) {
    ++counters.copies_to_device;
    counters.bytes_to_device += bytes;
  } else if (leaves) {
    ++counters.copies_to_host;
    counters.bytes_to_host += bytes;
  } else {
    ++counters.kernels;
  }
  copy.takes(DeviceRates::launch + static_cast<double>(bytes) *
                                       (arrives || leaves ? 1 / DeviceRates::link : 2 / DeviceRates::memory));
  const bool waits = leaves ? !(non_blocking && direct) : arrives && !non_blocking;
  if (waits) copy.host_waits();
  if (waits) ++counters.waits;
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
    c10::DataPtr data = device_allocator().allocate(needed);
    if (storage->nbytes() > 0) {
      Operation copy("aten::resize_", current_stream(self.device()));
      copy.reads(storage->data(), storage->nbytes());
      copy.writes(data.get(), storage->nbytes());
      device_allocator().copy_data(data.get(), storage->data(), storage->nbytes());
    }
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
  if (!computing) {
    Operation copy("aten::item", current_stream(self.device()));
    copy.reads(self.const_data_ptr(), extent(self));
    copy.takes(DeviceRates::launch);
    copy.host_waits();
    ++counters.waits;
  }
  return on_host(self).item();
}

std::vector<at::Tensor> tensors_of(const c10::IValue& value) {
  std::vector<at::Tensor> found;
  if (value.isTensor() && value.toTensor().defined()) found.push_back(value.toTensor());
  if (!value.isList()) return found;
  for (const c10::IValue& element : value.toListRef()) {
    if (element.isTensor() && element.toTensor().defined()) found.push_back(element.toTensor());
  }
  return found;
}

/// Of a product of matrices: the arithmetic for each column that comes out. 0 of anything else.
double flops_per_column(const std::string& name, c10::ArrayRef<c10::IValue> arguments) {
  static const std::map<std::string, size_t> kLeft = {
      {"aten::mm", 0},      {"aten::bmm", 0},      {"aten::addmm", 1},      {"aten::addmm_", 1},
      {"aten::baddbmm", 1}, {"aten::baddbmm_", 1}, {"aten::_grouped_mm", 0}};
  const auto product = kLeft.find(name);
  return product == kLeft.end() ? 0
                                : 2.0 * static_cast<double>(arguments[product->second].toTensor().numel());
}

/// Every other operator: the CPU's, on copies.
void compute(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  if (computing) {
    at::native::cpu_fallback(op, stack);
    return;
  }
  ++counters.kernels;
  const c10::FunctionSchema& schema = op.schema();
  const c10::ArrayRef<c10::IValue> arguments = torch::jit::last(*stack, schema.arguments().size());
  c10::Device device = current_device();
  for (const c10::IValue& argument : arguments) {
    for (const at::Tensor& x : tensors_of(argument)) {
      TORCH_CHECK(!x.is_cpu() || x.dim() == 0 || argument.isOptionalTensorList(), schema.name(),
                  ": a tensor of the host among those of the device");
      if (!x.is_cpu()) device = x.device();
    }
  }
  Operation operation(schema.name(), current_stream(device));
  double bytes = 0, flops = 0;
  const auto touches = [&](const at::Tensor& x, bool write) {
    if (x.is_cpu()) return;
    write ? operation.writes(x.const_data_ptr(), extent(x)) : operation.reads(x.const_data_ptr(), extent(x));
    bytes += static_cast<double>(x.nbytes());
  };
  for (size_t i = 0; i < arguments.size(); ++i) {
    const c10::AliasInfo* const alias = schema.arguments()[i].alias_info();
    for (const at::Tensor& x : tensors_of(arguments[i])) touches(x, alias && alias->isWrite());
  }
  const double per_column = flops_per_column(schema.name(), arguments);
  {
    const Computing within;
    at::native::cpu_fallback(op, stack);
  }
  const c10::ArrayRef<c10::IValue> results = torch::jit::last(*stack, schema.returns().size());
  for (size_t i = 0; i < results.size(); ++i) {
    for (const at::Tensor& x : tensors_of(results[i])) {
      if (per_column > 0) flops += per_column * static_cast<double>(x.size(-1));
      if (!schema.returns()[i].alias_info()) touches(x, true);  // others were arguments
    }
  }
  operation.takes(DeviceRates::launch + std::max(bytes / DeviceRates::memory, flops / DeviceRates::products));
  // What has a size that the device alone knows is waited for, as on a GPU.
  static const std::set<std::string> kSized = {"aten::nonzero", "aten::masked_select", "aten::_unique2",
                                               "aten::equal"};
  if (!kSized.contains(schema.name())) return;
  operation.host_waits();
  ++counters.waits;
}

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
  for (const char* const one_kernel : {"_grouped_mm", "native_layer_norm", "native_layer_norm_backward"})
    m.impl(one_kernel, torch::CppFunction::makeFromBoxedFunction<&compute>());  // as on a GPU
}

}  // namespace

DeviceCounts take_counts() {
  return {.kernels = counters.kernels.exchange(0),
          .copies_to_device = counters.copies_to_device.exchange(0),
          .copies_to_host = counters.copies_to_host.exchange(0),
          .bytes_to_device = counters.bytes_to_device.exchange(0),
          .bytes_to_host = counters.bytes_to_host.exchange(0),
          .waits = counters.waits.exchange(0),
          .busy = counters.busy.exchange(0)};
}

}  // namespace chorus::testing
