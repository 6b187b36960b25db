#include "model/executor.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/zeros.h>
#include <torch/csrc/autograd/autograd.h>

namespace chorus::inline model {

void Executor::record_graph(Record& record, bool again) {
  const at::AutoGradMode recording(true);
  for (const Value& input : record.inputs) {
    record.leaves.push_back(input.data.detach().requires_grad_(input.gradient != nullptr));
  }
  record.output = record.block(record.leaves, again);
}

Executor::Executor(Mode mode, BlockWatcher* watcher, Stash* stash)
    : mode_(mode), watcher_(watcher), stash_(mode == Mode::recompute ? stash : nullptr) {
  if (watcher_) watcher_->before(0, mode_ != Mode::evaluate);
}

void Executor::finish() {
  if (watcher_) watcher_->after(0, mode_ != Mode::evaluate);
}

void Executor::tell_before(size_t number, bool backward) {
  if (watcher_ && number != 0) watcher_->before(number, backward);
}

void Executor::tell_after(size_t number, bool backward) {
  if (watcher_ && number != 0) watcher_->after(number, backward);
}

Value Executor::run(size_t number, Block block, std::vector<Value> inputs) {
  tell_before(number, false);
  Record record = {.number = number,
                   .block = std::move(block),
                   .inputs = std::move(inputs),
                   .leaves = {},
                   .output = {},
                   .gradient = nullptr};
  if (mode_ == Mode::train) {
    record_graph(record, false);
    tell_after(number, false);
    record.sizes = record.output.sizes().vec();
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
  tell_after(number, false);
  if (mode_ == Mode::evaluate) return {output, nullptr};
  record.sizes = output.sizes().vec();
  record.gradient = std::make_shared<at::Tensor>();
  stash_inputs(record);
  tape_.push_back(std::move(record));
  return {output, tape_.back().gradient};
}

void Executor::stash_inputs(Record& record) {
  if (!stash_) return;
  for (Value& input : record.inputs) {
    if (!input.gradient) continue;  // no activation
    Stashed& stashed = stashed_[input.gradient.get()];
    if (stashed.uses++ == 0) stashed.ticket = stash_->put(input.data);
    input.data.reset();
  }
}

/// Brings the inputs back from the stash, and begins to bring those of the record before.
void Executor::fetch_inputs(Record& record) {
  if (!stash_) return;
  for (Value& input : record.inputs) {
    const auto found = stashed_.find(input.gradient.get());
    if (!input.gradient || found == stashed_.end()) continue;
    Stashed& stashed = found->second;
    if (!stashed.data.defined()) stashed.data = stash_->take(stashed.ticket);
    input.data = stashed.data;
    if (--stashed.uses == 0) stashed_.erase(found);
  }
  if (tape_.empty()) return;
  for (const Value& input : tape_.back().inputs) {
    const auto found = stashed_.find(input.gradient.get());
    if (found != stashed_.end() && !found->second.data.defined()) stash_->prefetch(found->second.ticket);
  }
}

void Executor::backward(const Value& output, const at::Tensor& gradient) {
  *output.gradient = gradient;
  while (!tape_.empty()) {
    Record record = std::move(tape_.back());
    tape_.pop_back();
    fetch_inputs(record);
    if (!record.gradient->defined()) {
      if (!watcher_) continue;
      *record.gradient = at::zeros(record.sizes, gradient.options());
    }
    tell_before(record.number, true);
    if (!record.output.defined()) {
      record_graph(record, true);
    }
    const at::Tensor arriving = std::move(*record.gradient);
    torch::autograd::backward({record.output}, {arriving});
    tell_after(record.number, true);
    for (size_t i = 0; i < record.inputs.size(); ++i) {
      const at::Tensor& contribution = record.leaves[i].grad();
      if (record.inputs[i].gradient && contribution.defined()) {
        at::Tensor& sum = *record.inputs[i].gradient;
        sum = sum.defined() ? sum + contribution : contribution;
      }
    }
  }
}

}  // namespace chorus::inline model
