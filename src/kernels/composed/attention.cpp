#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

at::ScalarType Backend::attention_type(at::ScalarType type) const {
  return type;
}

}  // namespace chorus::inline kernels
