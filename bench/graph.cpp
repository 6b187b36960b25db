// What the device is given, as a CUDA graph.
#include "graph.h"

#ifdef CHORUS_CUDA_GRAPHS
#include <memory>

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#else
#include <stdexcept>
#endif

namespace chorus::bench {

#ifdef CHORUS_CUDA_GRAPHS
std::function<void()> captured(const std::function<void()>& work) {
  auto graph = std::make_shared<at::cuda::CUDAGraph>();
  c10::cuda::device_synchronize();
  const c10::cuda::CUDAStreamGuard beside(c10::cuda::getStreamFromPool());
  work();  // libraries make themselves ready
  c10::cuda::device_synchronize();
  graph->capture_begin();
  work();
  graph->capture_end();
  c10::cuda::device_synchronize();
  return [graph, work] { graph->replay(); };  // what `work` holds has to stay
}
#else
std::function<void()> captured(const std::function<void()>& /*work*/) {
  throw std::runtime_error("this chorus_bench is not for CUDA, and captures no graphs");
}
#endif

}  // namespace chorus::bench
