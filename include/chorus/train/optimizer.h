// AdamW over a model's parameters: their masters and moments, gradient clipping, updates.
#pragma once

#include <vector>

#include "chorus/model/transformer.h"
#include "chorus/optim/adamw.h"
#include "chorus/optim/config.h"

namespace chorus {

class Optimizer {
 public:
  /// `model` must outlive it. Moments start at zero; masters are not set.
  Optimizer(Transformer& model, const OptimConfig& config);

  /// To be called when masters were written from outside: initialised, or read from a checkpoint.
  void masters_changed();

  /// Forgets the gradients of the update before.
  void begin_update();
  /// The norm of all gradients together. A parameter that took no part in this update counts as zero.
  double gradient_norm();
  /// One AdamW update with gradients scaled so that their norm is at most config.clip_norm.
  void update(double learning_rate, double norm);

  [[nodiscard]] const at::Tensor& master(size_t parameter) const;
  [[nodiscard]] const at::Tensor& first_moment(size_t parameter) const { return tensors_[parameter].m; }
  [[nodiscard]] const at::Tensor& second_moment(size_t parameter) const { return tensors_[parameter].v; }

  int64_t updates = 0;  // made so far: what the bias corrections count

 private:
  Transformer& model_;
  OptimConfig config_;
  std::vector<AdamWTensor> tensors_;
};

}  // namespace chorus
