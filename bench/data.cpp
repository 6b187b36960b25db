#include "data.h"

#include <algorithm>
#include <cstring>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/norm.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/device.h"
#include "kernels/peak.h"
#include "ranks.h"
#include "work.h"

namespace chorus::bench {

at::Tensor Tensors::get(const std::string& name) const {
  const TensorView view = file_.get(name);
  if (view.dtype != DType::f32 && view.dtype != DType::i64)
    throw std::runtime_error(name + " is neither F32 nor I64");
  at::Tensor tensor = at::empty(view.shape, view.dtype == DType::f32 ? at::kFloat : at::kLong);
  std::memcpy(tensor.mutable_data_ptr(), view.bytes.data(), view.bytes.size());
  return tensor;
}

at::Device device_of(const Json& options) {
  return device_of_rank(options.value("device", "cpu"), ranks().rank_here(), ranks().ranks_here());
}

void wait_for(at::Device device) {
  if (!device.is_cpu())
    c10::impl::VirtualGuardImpl(device.type())
        .synchronizeDevice(std::max<c10::DeviceIndex>(0, device.index()));
}

at::ScalarType type_of(const Json& options) {
  return options["dtype"] == "bf16" ? at::kBFloat16 : at::kFloat;
}

double norm_of(const at::Tensor& tensor) {
  return tensor.to(at::kDouble).norm().item<double>();
}

double peak_flops(at::ScalarType type) {
  double best = 0;
  for (const Peak& peak : measure_peaks(0.05)) {
    if (peak.arithmetic.starts_with("fp32") || (type == at::kBFloat16 && peak.arithmetic.starts_with("bf16")))
      best = std::max(best, peak.operations);
  }
  return at::get_num_threads() * best;
}

}  // namespace chorus::bench
