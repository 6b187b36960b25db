#include "chorus/train/optimizer.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

namespace chorus {

Optimizer::Optimizer(Transformer& model, const OptimConfig& config) : model_(model), config_(config) {
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const Parameter& parameter = model.parameters()[i];
    AdamWTensor tensor;
    tensor.value = parameter.value.detach();
    tensor.gradient = parameter.gradient;
    if (tensor.value.scalar_type() != at::kFloat) tensor.master = at::empty_like(parameter.gradient);
    tensor.m = at::zeros_like(parameter.gradient);
    tensor.v = at::zeros_like(parameter.gradient);
    tensor.decay = model.catalogue().parameters[i].decay;
    tensors_.push_back(std::move(tensor));
  }
}

void Optimizer::masters_changed() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].master.defined()) model_.set(i, tensors_[i].master);
  }
}

const at::Tensor& Optimizer::master(size_t parameter) const {
  const AdamWTensor& tensor = tensors_[parameter];
  return tensor.master.defined() ? tensor.master : tensor.value;
}

void Optimizer::begin_update() {
  for (Parameter& parameter : model_.parameters()) {
    parameter.has_gradient = false;
  }
}

double Optimizer::gradient_norm() {
  double sum = 0;
  for (Parameter& parameter : model_.parameters()) {
    if (!parameter.has_gradient) parameter.gradient.zero_();
    sum += squared_norm(parameter.gradient);
  }
  return std::sqrt(sum);
}

void Optimizer::update(double learning_rate, double norm) {
  ++updates;
  const bool clips = config_.clip_norm > 0 && norm > config_.clip_norm;
  AdamWStep step = {.learning_rate = learning_rate,
                    .beta1 = config_.beta1,
                    .beta2 = config_.beta2,
                    .epsilon = config_.epsilon,
                    .weight_decay = config_.weight_decay,
                    .step = updates,
                    .gradient_scale = clips ? config_.clip_norm / norm : 1.0};
  for (AdamWTensor& tensor : tensors_) {
    adamw_step(tensor, step);
  }
}

}  // namespace chorus
