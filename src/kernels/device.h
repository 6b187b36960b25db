// On which kind of device a tensor lies. kernels/ alone chooses by that what computes on it; other rooms ask
// only where bytes leave the device, for MPI or a file.
#pragma once

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

/// Whether the processor reads and writes what lies there.
inline bool is_host(at::Device device) {
  return device.is_cpu();
}
inline bool is_host(const at::Tensor& tensor) {
  return tensor.is_cpu();
}

/// Of its host's GPUs, that of rank `rank` of `ranks` there. UserError where there are fewer than ranks.
at::Device gpu_of(int rank, int ranks);

/// The type in which attention is computed there for queries of a type: a wider one where that is faster.
at::ScalarType attention_type(const at::Tensor& query);

}  // namespace chorus::inline kernels
