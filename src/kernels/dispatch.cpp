// Every operation that a device may do its own way: each goes to the backend of the device where its operands
// lie.
#include <algorithm>

#include <ATen/Context.h>
#include <ATen/DeviceAccelerator.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "base/error.h"
#include "base/text.h"
#include "kernels/device.h"

#include "kernels/internal/backend.h"
#include "kernels/internal/launch.h"

namespace chorus::inline kernels {

namespace {

at::Tensor in_sum_type(const at::Tensor& weight, const at::Tensor& rows) {
  return weight.to(sum_type(rows)).contiguous();
}

/// Error unless the operands fit each other.
void check_adamw(const AdamWTensor& t, bool with_gradient) {
  const auto fits = [&](const at::Tensor& x) {
    return x.defined() && x.scalar_type() == at::kFloat && x.is_contiguous() &&
           x.numel() == t.value.numel() && x.device() == t.value.device();
  };
  const bool value = t.master.defined()
                         ? fits(t.master) && t.value.scalar_type() == at::kBFloat16 && t.value.is_contiguous()
                         : fits(t.value);
  if (!value || (with_gradient && !fits(t.gradient)) || !fits(t.m) || !fits(t.v)) {
    throw Error(
        "AdamW: a weight, its gradient and its state must be contiguous fp32 tensors of one size and device");
  }
}

}  // namespace

const Backend& composed_backend() {
  static const Backend composed;
  return composed;
}

const Backend& backend_of(at::Device device) {
  static const HostBackend host;
  static const DeviceBackend kernels;
  if (is_host(device)) return host;
  return runs_kernels(device) ? kernels : composed_backend();
}

Routing route(const at::Tensor& probabilities, const ActiveRows& active, const RoutingOptions& options,
              RandomKey key) {
  return backend_of(probabilities).route(probabilities, active, options, key);
}

at::Tensor gates(const at::Tensor& probabilities, const Routing& routing, GateNormalization normalization) {
  return backend_of(probabilities).gates(probabilities, routing, normalization);
}

at::Tensor router_backward(const at::Tensor& probabilities, const Routing& routing,
                           GateNormalization normalization, const at::Tensor& grad_gates,
                           const ActiveRows& active, const RouterLosses& losses) {
  return backend_of(probabilities)
      .router_backward(probabilities, routing, normalization, grad_gates, active, losses);
}

ExpertOrder sort_by_expert(const at::Tensor& kept, int64_t experts, int64_t most) {
  return backend_of(kept).sort_by_expert(kept, experts, most);
}

at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& index) {
  at::Tensor out = at::empty({index.size(0), x.size(1)}, x.options());
  gather_rows(x, index, out);
  return out;
}

void gather_rows(const at::Tensor& x, const at::Tensor& index, const at::Tensor& out) {
  backend_of(x).gather_rows(x, index, out);
}

at::Tensor combine_rows(const at::Tensor& rows, const at::Tensor& slot, const at::Tensor& weight) {
  return backend_of(rows).combine_rows(rows, slot, in_sum_type(weight, rows));
}

at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& slot) {
  return backend_of(rows).sum_rows(rows, slot, {});
}

at::Tensor sum_rows(const at::Tensor& rows, const at::Tensor& slot, const RowsElsewhere& elsewhere) {
  return backend_of(rows).sum_rows(rows, slot, elsewhere);
}

void linear_product(const at::Tensor& out, const at::Tensor& input, const Matrix& weight,
                    const LinearOptions& options) {
  backend_of(input).linear_product(out, input, weight, options);
}

at::Tensor linear_product(const at::Tensor& input, const Matrix& weight, const LinearOptions& options) {
  at::Tensor out = at::empty({input.size(0), weight.rows}, input.options());
  linear_product(out, input, weight, options);
  return out;
}

void plain_product(const at::Tensor& out, const at::Tensor& a, const at::Tensor& b) {
  backend_of(a).plain_product(out, a, b);
}

void add_product(const at::Tensor& target, const at::Tensor& a, const at::Tensor& b, bool overwrite) {
  backend_of(a).add_product(target, a, b, overwrite);
}

NormedRows norm_rows(const at::Tensor& rows, const NormScaling& scaling) {
  return backend_of(rows).norm_rows(rows, scaling);
}

NormGradients norm_rows_backward(const at::Tensor& grad, const at::Tensor& rows, const NormedRows& normed,
                                 const NormScaling& scaling) {
  return backend_of(rows).norm_rows_backward(grad, rows, normed, scaling);
}

ExpertRun run_experts(const Experts& experts, const at::Tensor& input) {
  return backend_of(input).run_experts(experts, input);
}

ExpertGradients run_experts_backward(const Experts& experts, const at::Tensor& input, const at::Tensor& kept,
                                     const at::Tensor& grad, const at::Tensor& weight) {
  return backend_of(input).run_experts_backward(experts, input, kept, grad, weight);
}

at::Tensor dropout_by_key(const at::Tensor& input, double p, RandomKey key, const SliceOf& slice) {
  return backend_of(input).dropout(input, p, key, slice);
}

at::Tensor dropout_rows_by_key(const at::Tensor& rows, double p, const at::Tensor& keys, int64_t first) {
  return backend_of(rows).dropout_rows(rows, p, keys, first);
}

at::Tensor jitter_by_key(const at::Tensor& input, double epsilon, RandomKey key) {
  return backend_of(input).jitter(input, epsilon, key);
}

at::Tensor cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels,
                              const CrossEntropyOptions& options, const at::Tensor& gradient) {
  return backend_of(logits).cross_entropy_rows(logits, labels, options, gradient);
}

at::Tensor cross_entropy_parts(const at::Tensor& logits, const at::Tensor& labels) {
  return backend_of(logits).cross_entropy_parts(logits, labels);
}

at::Tensor cross_entropy_rows(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& parts,
                              int64_t width, const CrossEntropyOptions& options, const at::Tensor& gradient) {
  return backend_of(logits).cross_entropy_rows_of(logits, labels, parts, width, options, gradient);
}

BestTokens best_tokens(const at::Tensor& logits, const std::vector<int32_t>& never, const RowTokens& banned,
                       int64_t k, const Penalty& penalty) {
  return backend_of(logits).best_tokens(logits, never, banned, k, penalty);
}

void adamw_step(AdamWTensor& tensor, const AdamWStep& step) {
  adamw_step({&tensor, 1}, step);
}

void adamw_step(std::span<AdamWTensor> tensors, const AdamWStep& step) {
  for (const AdamWTensor& tensor : tensors) check_adamw(tensor, true);
  if (!tensors.empty()) backend_of(tensors.front().value).adamw_step(tensors, step);
}

void adamw_catch_up(AdamWTensor& tensor, std::span<const AdamWStep> missed) {
  check_adamw(tensor, false);
  backend_of(tensor.value).adamw_catch_up(tensor, missed);
}

void SumOfSquares::add(const at::Tensor& tensor) {
  constexpr int64_t kMost = int64_t{1} << 24;  // elements that wait: copies of a chunk may be among them
  if (!unread_.empty() && unread_.front().device() != tensor.device()) read();
  unread_.push_back(tensor);
  unread_elements_ += tensor.numel();
  if (is_host(tensor) || unread_elements_ > kMost) read();
}

void SumOfSquares::read() {
  if (!unread_.empty()) sums_.push_back(backend_of(unread_.front()).sums_of_squares(unread_));
  unread_.clear();
  unread_elements_ = 0;
}

double SumOfSquares::value() {
  read();
  std::vector<at::Tensor> here, there;
  for (const at::Tensor& sums : sums_) (is_host(sums) ? here : there).push_back(sums);
  if (!there.empty()) here.push_back(at::cat(there).to(at::kCPU));
  double all = 0;
  for (const at::Tensor& sums : here) {
    for (int64_t i = 0; i < sums.numel(); ++i) all += sums.const_data_ptr<double>()[i];
  }
  return all;
}

double squared_norm(const at::Tensor& tensor) {
  SumOfSquares sum;
  sum.add(tensor);
  return sum.value();
}

namespace {

int count_of(at::DeviceType type) {
  if (type == at::kCPU) return 1;
  try {
    return static_cast<uint8_t>(c10::impl::VirtualGuardImpl(type).deviceCount());
  } catch (const c10::Error&) {  // not in this build of libtorch
    return 0;
  }
}

at::DeviceType kind_of(const std::string& name) {
  if (name == "auto") {
    const at::DeviceType built_for = at::getAccelerator().value_or(at::kCPU);
    return count_of(built_for) > 0 ? built_for : at::kCPU;
  }
  std::optional<at::Device> device;
  try {
    device = at::Device(name);
  } catch (const c10::Error&) {  // it knows no such name
  }
  if (!device || device->has_index() || device->is_meta())
    throw UserError("device {}: choose cpu, auto, or an accelerator by libtorch's name for it, such as cuda",
                    name);
  return device->type();
}

}  // namespace

bool names_host(const std::string& name) {
  return kind_of(name) == at::kCPU;
}

int devices_here(const std::string& name) {
  return count_of(kind_of(name));
}

at::Device device_of_rank(const std::string& name, int rank, int ranks) {
  const at::DeviceType type = kind_of(name);
  if (type == at::kCPU) return at::kCPU;
  const int there = devices_here(name);
  if (there == 0)
    throw UserError("device {}: libtorch sees none here; choose cpu, or take a build of torch for it", name);
  if (there < ranks)
    throw UserError("device {}: {} for {} ranks on this host: start one rank for each, or choose cpu", name,
                    counted(there, "device"), ranks);
  // cuDNN's attention may give gradients that are no numbers (pytorch #196678); sums of bf16 in bf16 lose bits.
  at::globalContext().setSDPUseCuDNN(false);
  at::globalContext().setAllowBF16ReductionCuBLAS(false);
  return {type, static_cast<at::DeviceIndex>(rank)};
}

at::Tensor send_to(at::Device device, const at::Tensor& on_host) {
  if (is_host(device)) return on_host;
  at::Tensor sent = on_host;
  try {
    sent = on_host.pin_memory();
  } catch (const c10::Error&) {  // libtorch has no page-locked memory for it: the copy is waited for
  }
  return sent.to(device, on_host.scalar_type(), /*non_blocking=*/true);
}

at::ScalarType attention_type(const at::Tensor& query) {
  return backend_of(query).attention_type(query.scalar_type());
}

}  // namespace chorus::inline kernels
