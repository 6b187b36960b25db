#include "kernels/cpu.h"

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

/// Without bf16 arithmetic libtorch's attention is some fifty times slower in bf16 than in fp32.
at::ScalarType HostBackend::attention_type(at::ScalarType type) const {
  return type == at::kBFloat16 && cpu_isa() == Isa::plain ? at::kFloat : type;
}

}  // namespace chorus::inline kernels
