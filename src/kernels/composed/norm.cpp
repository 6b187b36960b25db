#include "kernels/norm.h"

#include <ATen/ops/native_layer_norm.h>
#include <ATen/ops/native_layer_norm_backward.h>

#include "kernels/internal/backend.h"

namespace chorus::inline kernels {

namespace {

at::Tensor widened(const at::Tensor& x) {
  return x.to(sum_type(x));
}

}  // namespace

NormedRows Backend::norm_rows(const at::Tensor& rows, const NormScaling& s) const {
  const at::Tensor wide = widened(rows);
  if (s.bias.defined()) {
    auto [output, mean, scale] =
        at::native_layer_norm(wide, {rows.size(1)}, widened(s.weight), widened(s.bias), s.epsilon);
    return {output.to(rows.scalar_type()), mean.view(-1), scale.view(-1)};
  }
  const at::Tensor scale = wide.square().mean(-1, true).add_(s.epsilon).rsqrt_();
  return {(wide * scale).to(rows.scalar_type()) * s.weight, {}, scale.view(-1)};
}

/// Computes, with n = x s, s = (mean(x^2) + epsilon)^-1/2 and g the gradient w.r.t. n: g_x = s (g - n mean(g n)).
NormGradients Backend::norm_rows_backward(const at::Tensor& grad, const at::Tensor& rows,
                                          const NormedRows& normed, const NormScaling& s) const {
  const at::Tensor scale = normed.scale.unsqueeze(1);
  if (s.bias.defined()) {
    auto [by_rows, by_weight, by_bias] =
        at::native_layer_norm_backward(widened(grad), widened(rows), {rows.size(1)}, normed.mean.unsqueeze(1),
                                       scale, widened(s.weight), widened(s.bias), {true, true, true});
    return {by_rows.to(rows.scalar_type()), by_weight, by_bias};
  }
  const at::Tensor wide = grad.to(scale.scalar_type()), normal = rows * scale;
  const at::Tensor by_normal = wide * s.weight;
  const at::Tensor by_rows = (by_normal - normal * (by_normal * normal).mean(-1, true)) * scale;
  return {by_rows.to(rows.scalar_type()), (wide * normal).sum(0), {}};
}

}  // namespace chorus::inline kernels
