// AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019) in one pass over memory,
// and the norm that clipping needs. On the CPU both give the same bits with any number of threads and on
// every instruction set.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace chorus::inline kernels {

struct AdamWStep {
  double learning_rate = 0;
  double beta1 = 0.9, beta2 = 0.98;
  double epsilon = 1e-8;
  double weight_decay = 0;
  int64_t step = 1;           // 1 for the first: the bias corrections' exponent
  double gradient_scale = 1;  // multiplies the gradient: 1 / tokens and clipping
};

/// One weight and its state; all contiguous, of one size, on one device.
struct AdamWTensor {
  at::Tensor value;     // what the model computes with: bf16 with a master, or fp32
  at::Tensor master;    // fp32; undefined when `value` is fp32 and its own master
  at::Tensor gradient;  // fp32
  at::Tensor m, v;      // fp32 first and second moment
  bool decay = true;    // whether weight decay applies
};

/// Makes a step: master -= learning_rate (m^ / (sqrt(v^) + epsilon) + weight_decay master), as torch.optim.AdamW;
/// then value = master, rounded to nearest even. Error on other types or sizes.
void adamw_step(AdamWTensor& tensor, const AdamWStep& step);
/// Makes the step of many weights, all on one device, which has a kernel for some tens of them together.
void adamw_step(std::span<AdamWTensor> tensors, const AdamWStep& step);

/// Makes up for the steps that a weight without gradient has missed, in their order, in one pass over memory:
/// the same bits as one adamw_step() after the other with a gradient of zeros. tensor.gradient may be
/// undefined.
void adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed);

/// The sum of squares of many tensors, in fp64; not finite when an element is not. The host waits for a device once.
class SumOfSquares {
 public:
  /// Adds a tensor. On a device it is read later, until value() at the latest; on the host now.
  void add(const at::Tensor& tensor);
  /// Adds the squares of another sum, all of them on the host.
  void add(const SumOfSquares& other) { sums_.insert(sums_.end(), other.sums_.begin(), other.sums_.end()); }
  double value();

 private:
  void read();

  std::vector<at::Tensor> unread_;  // of one device
  int64_t unread_elements_ = 0;
  std::vector<at::Tensor> sums_;  // fp64, each of some tensors
};
/// Returns the sum of squares of one tensor.
double squared_norm(const at::Tensor& tensor);

}  // namespace chorus::inline kernels
