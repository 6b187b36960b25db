// The seam between devices: what each must be able to do. Whoever brings a device, or a kernel for one,
// derives from Backend, overrides what it does better, and names it in backend_of().
//
// What the functions do, and on what, is written where they are declared for all devices: kernels/*.h.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/adamw.h"
#include "kernels/cross_entropy.h"
#include "kernels/decoding.h"
#include "kernels/dropout.h"
#include "kernels/experts.h"
#include "kernels/gates.h"
#include "kernels/gemm.h"
#include "kernels/norm.h"
#include "kernels/routing.h"
#include "kernels/rows.h"

namespace chorus::inline kernels {

/// Through libtorch's operators: any device, and the reference of the tests. Defined in kernels/composed/.
class Backend {
 public:
  virtual ~Backend() = default;

  // routing.h, gates.h, rows.h
  virtual Routing route(const at::Tensor& probabilities, const ActiveRows& active,
                        const RoutingOptions& options, RandomKey key) const;
  virtual at::Tensor gates(const at::Tensor& probabilities, const Routing& routing,
                           GateNormalization normalization) const;
  virtual at::Tensor router_backward(const at::Tensor& probabilities, const Routing& routing,
                                     GateNormalization normalization, const at::Tensor& grad_gates,
                                     const ActiveRows& active, const RouterLosses& losses) const;
  virtual ExpertOrder sort_by_expert(const at::Tensor& kept, int64_t experts, int64_t most) const;
  virtual void gather_rows(const at::Tensor& x, const at::Tensor& index, const at::Tensor& out) const;
  virtual at::Tensor combine_rows(const at::Tensor& rows, const at::Tensor& slot,
                                  const at::Tensor& weight) const;
  virtual at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& slot,
                              const RowsElsewhere& elsewhere) const;

  // gemm.h
  virtual void linear_product(const at::Tensor& out, const at::Tensor& input, const Matrix& weight,
                              const LinearOptions& options) const;
  virtual void plain_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const;
  virtual void add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b,
                           bool overwrite) const;

  // norm.h
  virtual NormedRows norm_rows(const at::Tensor& rows, const NormScaling& scaling) const;
  virtual NormGradients norm_rows_backward(const at::Tensor& grad, const at::Tensor& rows,
                                           const NormedRows& normed, const NormScaling& scaling) const;

  // dropout.h, cross_entropy.h, decoding.h
  virtual at::Tensor dropout(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice) const;
  virtual at::Tensor dropout_rows(const at::Tensor& rows, double p, const at::Tensor& keys,
                                  int64_t first) const;
  virtual at::Tensor jitter(const at::Tensor& input, double epsilon, RandomKey key) const;
  virtual at::Tensor cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                        const CrossEntropyOptions& options, const at::Tensor& gradient) const;
  virtual at::Tensor cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels) const;
  virtual at::Tensor cross_entropy_rows_of(const at::Tensor& logits, const at::Tensor& labels,
                                           const at::Tensor& parts, int64_t width,
                                           const CrossEntropyOptions& options,
                                           const at::Tensor& gradient) const;
  virtual BestTokens best_tokens(const at::Tensor& logits, const std::vector<int32_t>& never,
                                 const RowTokens& banned, int64_t k, const Penalty& penalty) const;

  // adamw.h
  virtual void adamw_step(std::span<AdamWTensor> tensors, const AdamWStep& step) const;
  virtual void adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed) const;
  /// fp64 [any number], which sum up to that of all tensors.
  virtual at::Tensor sums_of_squares(std::span<const at::Tensor> tensors) const;

  // experts.h
  virtual ExpertRun run_experts(const Experts& experts, const at::Tensor& input) const;
  virtual ExpertGradients run_experts_backward(const Experts& experts, const at::Tensor& input,
                                               const at::Tensor& kept, const at::Tensor& grad,
                                               const at::Tensor& weight) const;

  /// The type in which attention of this type is computed: a wider one where that is faster.
  [[nodiscard]] virtual at::ScalarType attention_type(at::ScalarType type) const;
};

/// By kernels made for the processor at hand (kernels/cpu.h). Defined in kernels/cpu/.
class HostBackend final : public Backend {
 public:
  Routing route(const at::Tensor& probabilities, const ActiveRows& active, const RoutingOptions& options,
                RandomKey key) const override;
  ExpertOrder sort_by_expert(const at::Tensor& kept, int64_t experts, int64_t most) const override;
  void gather_rows(const at::Tensor& x, const at::Tensor& index, const at::Tensor& out) const override;
  at::Tensor combine_rows(const at::Tensor& rows, const at::Tensor& slot,
                          const at::Tensor& weight) const override;
  at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& slot,
                      const RowsElsewhere& elsewhere) const override;
  void linear_product(const at::Tensor& out, const at::Tensor& input, const Matrix& weight,
                      const LinearOptions& options) const override;
  void plain_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) const override;
  void add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b,
                   bool overwrite) const override;
  NormedRows norm_rows(const at::Tensor& rows, const NormScaling& scaling) const override;
  NormGradients norm_rows_backward(const at::Tensor& grad, const at::Tensor& rows, const NormedRows& normed,
                                   const NormScaling& scaling) const override;
  at::Tensor dropout(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice) const override;
  at::Tensor dropout_rows(const at::Tensor& rows, double p, const at::Tensor& keys,
                          int64_t first) const override;
  at::Tensor jitter(const at::Tensor& input, double epsilon, RandomKey key) const override;
  at::Tensor cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                const CrossEntropyOptions& options,
                                const at::Tensor& gradient) const override;
  at::Tensor cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels) const override;
  at::Tensor cross_entropy_rows_of(const at::Tensor& logits, const at::Tensor& labels,
                                   const at::Tensor& parts, int64_t width, const CrossEntropyOptions& options,
                                   const at::Tensor& gradient) const override;
  BestTokens best_tokens(const at::Tensor& logits, const std::vector<int32_t>& never, const RowTokens& banned,
                         int64_t k, const Penalty& penalty) const override;
  void adamw_step(std::span<AdamWTensor> tensors, const AdamWStep& step) const override;
  void adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed) const override;
  at::Tensor sums_of_squares(std::span<const at::Tensor> tensors) const override;
  ExpertRun run_experts(const Experts& experts, const at::Tensor& input) const override;
  ExpertGradients run_experts_backward(const Experts& experts, const at::Tensor& input,
                                       const at::Tensor& kept, const at::Tensor& grad,
                                       const at::Tensor& weight) const override;
  [[nodiscard]] at::ScalarType attention_type(at::ScalarType type) const override;
};

/// By kernels of ours for devices (kernels/internal/team.h), of which libtorch has none as good; what they do not take
/// (fp64, say) is Backend's. Defined in kernels/device/.
class DeviceBackend final : public Backend {
 public:
  Routing route(const at::Tensor& probabilities, const ActiveRows& active, const RoutingOptions& options,
                RandomKey key) const override;
  at::Tensor gates(const at::Tensor& probabilities, const Routing& routing,
                   GateNormalization normalization) const override;
  at::Tensor router_backward(const at::Tensor& probabilities, const Routing& routing,
                             GateNormalization normalization, const at::Tensor& grad_gates,
                             const ActiveRows& active, const RouterLosses& losses) const override;
  ExpertOrder sort_by_expert(const at::Tensor& kept, int64_t experts, int64_t most) const override;
  at::Tensor combine_rows(const at::Tensor& rows, const at::Tensor& slot,
                          const at::Tensor& weight) const override;
  at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& slot,
                      const RowsElsewhere& elsewhere) const override;
  NormedRows norm_rows(const at::Tensor& rows, const NormScaling& scaling) const override;
  NormGradients norm_rows_backward(const at::Tensor& grad, const at::Tensor& rows, const NormedRows& normed,
                                   const NormScaling& scaling) const override;
  at::Tensor dropout(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice) const override;
  at::Tensor dropout_rows(const at::Tensor& rows, double p, const at::Tensor& keys,
                          int64_t first) const override;
  at::Tensor jitter(const at::Tensor& input, double epsilon, RandomKey key) const override;
  at::Tensor cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                                const CrossEntropyOptions& options,
                                const at::Tensor& gradient) const override;
  at::Tensor cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels) const override;
  at::Tensor cross_entropy_rows_of(const at::Tensor& logits, const at::Tensor& labels,
                                   const at::Tensor& parts, int64_t width, const CrossEntropyOptions& options,
                                   const at::Tensor& gradient) const override;
  void adamw_step(std::span<AdamWTensor> tensors, const AdamWStep& step) const override;
  void adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed) const override;
  at::Tensor sums_of_squares(std::span<const at::Tensor> tensors) const override;
  ExpertRun run_experts(const Experts& experts, const at::Tensor& input) const override;
  ExpertGradients run_experts_backward(const Experts& experts, const at::Tensor& input,
                                       const at::Tensor& kept, const at::Tensor& grad,
                                       const at::Tensor& weight) const override;
};

/// The type sums over rows are taken in.
at::ScalarType sum_type(const at::Tensor& rows);

/// The one that computes where a tensor lies: the only place that decides by the kind of device.
const Backend& backend_of(at::Device device);
inline const Backend& backend_of(const at::Tensor& tensor) {
  return backend_of(tensor.device());
}
const Backend& composed_backend();

}  // namespace chorus::inline kernels
