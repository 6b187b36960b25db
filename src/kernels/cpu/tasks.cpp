#include <algorithm>
#include <atomic>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include "kernels/cpu.h"

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

/// Each task on one thread, begun by whichever is free.
void HostBackend::run_tasks(int64_t count, const std::function<void(int64_t)>& task) const {
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(count, at::get_num_threads()), 1, [&](int64_t, int64_t) {
    const at::NoGradGuard plain;  // a thread's own setting
    for (int64_t i = next++; i < count; i = next++) task(i);
  });
}

/// Without bf16 arithmetic libtorch's attention is some fifty times slower in bf16 than in fp32.
at::ScalarType HostBackend::attention_type(at::ScalarType type) const {
  return type == at::kBFloat16 && cpu_isa() == Isa::plain ? at::kFloat : type;
}

}  // namespace chorus::inline kernels
