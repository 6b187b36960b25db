#include "chorus/model/executor.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace chorus {

void Executor::record_graph(Record& record, bool again) {
  const at::AutoGradMode recording(true);
  for (const Value& input : record.inputs) {
    record.leaves.push_back(input.data.detach().requires_grad_(input.gradient != nullptr));
  }
  record.output = record.block(record.leaves, again);
}

Value Executor::run(Block block, std::vector<Value> inputs) {
  Record record = {.block = std::move(block),
                   .inputs = std::move(inputs),
                   .leaves = {},
                   .output = {},
                   .gradient = nullptr};
  if (mode_ == Mode::train) {
    record_graph(record, false);
    record.gradient = std::make_shared<at::Tensor>();
    tape_.push_back(std::move(record));
    return {tape_.back().output.detach(), tape_.back().gradient};
  }
  const at::NoGradGuard plain;
  std::vector<at::Tensor> data;
  for (const Value& input : record.inputs) {
    data.push_back(input.data);
  }
  const at::Tensor output = record.block(data, false);
  if (mode_ == Mode::evaluate) return {output, nullptr};
  record.gradient = std::make_shared<at::Tensor>();
  tape_.push_back(std::move(record));
  return {output, tape_.back().gradient};
}

void Executor::backward(const Value& output, const at::Tensor& gradient) {
  *output.gradient = gradient;
  while (!tape_.empty()) {
    Record record = std::move(tape_.back());
    tape_.pop_back();
    if (!record.gradient->defined()) continue;
    if (!record.output.defined()) {
      record_graph(record, true);
    }
    const at::Tensor arriving = std::move(*record.gradient);
    torch::autograd::backward({record.output}, {arriving});
    for (size_t i = 0; i < record.inputs.size(); ++i) {
      const at::Tensor& contribution = record.leaves[i].grad();
      if (record.inputs[i].gradient && contribution.defined()) {
        at::Tensor& sum = *record.inputs[i].gradient;
        sum = sum.defined() ? sum + contribution : contribution;
      }
    }
  }
}

}  // namespace chorus
