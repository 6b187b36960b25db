#include "kernels/dropout.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/WrapDimUtils.h>
#include <ATen/ops/rand.h>

#include "kernels/internal/backend.h"
#include "kernels/internal/threshold.h"

namespace chorus::inline kernels {

namespace {

/// Uniform numbers in [0, 1), a function of the key alone.
at::Tensor device_uniform(const at::TensorOptions& like, at::IntArrayRef sizes, RandomKey key) {
  at::Generator generator = at::globalContext().defaultGenerator(like.device()).clone();
  generator.set_current_seed(key.value());
  return at::rand(sizes, generator, like.dtype(at::kFloat));
}

}  // namespace

at::Tensor Backend::dropout(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice) const {
  const int64_t dimension = at::maybe_wrap_dim(slice.dimension, input.dim());
  const uint16_t threshold = threshold_of(p);
  std::vector<int64_t> sizes = input.sizes().vec();
  if (slice.total > 0) sizes[dimension] = slice.total;
  at::Tensor uniform = device_uniform(input.options(), sizes, key);
  if (slice.total > 0) uniform = uniform.narrow(dimension, slice.first, input.size(dimension));
  return (input * (uniform >= threshold / 65536.0)).mul_(1.0 / keep_of(threshold));
}

at::Tensor Backend::jitter(const at::Tensor& input, double epsilon, RandomKey key) const {
  return input * device_uniform(input.options(), input.sizes(), key).mul_(2 * epsilon).add_(1 - epsilon);
}

}  // namespace chorus::inline kernels
