#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

/// On the host.
Routing Backend::route(const at::Tensor& probabilities, const at::Tensor& active,
                       const RoutingOptions& options, RandomKey key) const {
  return chorus::route(probabilities.to(at::kCPU), active, options, key);
}

}  // namespace chorus::inline kernels
