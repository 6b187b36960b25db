#include <ATen/core/grad_mode.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

void Backend::run_tasks(int64_t count, const std::function<void(int64_t)>& task) const {
  const at::NoGradGuard plain;
  for (int64_t i = 0; i < count; ++i) task(i);
}

at::ScalarType Backend::attention_type(at::ScalarType type) const {
  return type;
}

}  // namespace chorus::inline kernels
