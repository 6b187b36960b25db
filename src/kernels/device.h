// On which kind of device a tensor lies. kernels/ alone chooses by that what computes on it; other rooms ask
// only where bytes leave the device, for MPI or a file.
#pragma once

#include <string>

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

/// Whether the processor reads and writes what lies there.
inline bool is_host(at::Device device) {
  return device.is_cpu();
}
inline bool is_host(const at::Tensor& tensor) {
  return tensor.is_cpu();
}

/// Whether NCCL moves what lies there.
inline bool is_nvidia(at::Device device) {
  return device.is_cuda();
}

// What a run's `device` names: "cpu"; "auto", the accelerator that libtorch sees here, or else the CPU; or another by
// libtorch's name for its kind, "cuda". UserError where libtorch knows none of that name.

bool names_host(const std::string& name);
/// How many of them libtorch sees here; 1 of the CPU.
int devices_here(const std::string& name);
/// The device of rank `rank` of `ranks` on this host, which have one each, unless it is the CPU. UserError where there
/// are fewer.
at::Device device_of_rank(const std::string& name, int rank, int ranks);

/// A tensor of the host on a device. The host does not wait for what the device was given before, where there is
/// page-locked memory for it.
at::Tensor send_to(at::Device device, const at::Tensor& on_host);

/// The type in which attention is computed there for queries of a type: a wider one where that is faster.
at::ScalarType attention_type(const at::Tensor& query);

}  // namespace chorus::inline kernels
