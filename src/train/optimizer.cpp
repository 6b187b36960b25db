#include "chorus/train/optimizer.h"

#include <algorithm>
#include <future>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

namespace chorus {

/// A bucket, and what this rank keeps of its state: elements [begin, end), of which [own, own_end) are its
/// part.
struct Optimizer::Shard {
  Bucket& bucket;
  Group& sharing;
  int64_t begin = 0, end = 0, own = 0, own_end = 0;
  at::Tensor value;  // [begin, end), what AdamW writes: a view of the bucket's values unless they come and go
  at::Tensor master;     // [begin, end) fp32; undefined when `value` is fp32
  at::Tensor gradient;   // [begin, end), a view of the bucket's unless they come and go
  at::Tensor m, v;       // [begin, end) fp32
  bool summed = false;   // the gradient is that of all ranks
  bool started = false;  // `gradient`, where it is no view, holds something of this update
  std::future<void> gathering, summing;

  [[nodiscard]] bool shared() const { return sharing.size() > 1; }
};

namespace {

/// Elements [begin, end) of a bucket, parameter by parameter: f(index in the bucket, first element in the
/// parameter, first in the bucket, count).
template <class F>
void for_stretches(const Bucket& bucket, const std::vector<Parameter>& parameters, int64_t begin, int64_t end,
                   const F& f) {
  for (size_t i = 0; i < bucket.parameters.size(); ++i) {
    const int64_t offset = bucket.offsets[i], count = parameters[bucket.parameters[i]].value.numel();
    const int64_t from = std::max(begin, offset), to = std::min(end, offset + count);
    if (from < to) f(i, from - offset, from, to - from);
  }
}

void finish(std::future<void>& work) {
  if (work.valid()) work.get();
}

}  // namespace

Optimizer::Optimizer(Transformer& model, const OptimConfig& config, Parallel& parallel)
    : model_(model), config_(config), parallel_(parallel), zero_(parallel.mesh().zero) {
  const at::NoGradGuard plain;
  for (Bucket& bucket : model.buckets()) {
    Group& sharing = bucket.role == Role::expert ? parallel.edp : parallel.dp;
    Shard shard = {.bucket = bucket, .sharing = sharing};
    const int64_t part = bucket.elements / sharing.size();
    shard.own = part * sharing.rank();
    shard.own_end = shard.own + part;
    shard.begin = zero_ >= 1 ? shard.own : 0;
    shard.end = zero_ >= 1 ? shard.own_end : bucket.elements;
    const int64_t count = shard.end - shard.begin;
    const at::TensorOptions wide = bucket.gradients.options();
    const bool values_go = zero_ >= 3 && shard.shared(), gradients_go = zero_ >= 2 && shard.shared();
    shard.value = values_go ? at::zeros({count}, bucket.values.options())
                            : bucket.values.detach().narrow(0, shard.begin, count);
    shard.gradient = gradients_go ? at::zeros({count}, wide) : bucket.gradients.narrow(0, shard.begin, count);
    if (bucket.type != at::kFloat) shard.master = at::zeros({count}, wide);
    shard.m = at::zeros({count}, wide);
    shard.v = at::zeros({count}, wide);
    bytes_ += static_cast<int64_t>(bucket.values.nbytes() + bucket.gradients.nbytes());
    if (values_go) free(bucket.values);
    if (gradients_go) free(bucket.gradients);
    if (of_block_.size() <= bucket.block) of_block_.resize(bucket.block + 1);
    of_block_[bucket.block].push_back(shards_.size());
    shards_.push_back(std::move(shard));
  }
  peak_bytes_ = bytes_;
  model_.watch(this);
}

Optimizer::~Optimizer() {
  model_.watch(nullptr);
}

/// Of the bucket's parameter number i.
LocalPart Optimizer::local(const Shard& shard, size_t i) const {
  return local_part(model_.catalogue().parameters[shard.bucket.parameters[i]], parallel_);
}

std::vector<Optimizer::Part> Optimizer::parts(int64_t Shard::*begin, int64_t Shard::*end) const {
  std::vector<Part> parts;
  for (const Shard& shard : shards_) {
    const auto stretch = [&](size_t i, int64_t first, int64_t at, int64_t count) {
      const auto view = [&](const at::Tensor& x) { return x.narrow(0, at - shard.begin, count); };
      parts.push_back({.parameter = shard.bucket.parameters[i],
                       .local = local(shard, i),
                       .first = first,
                       .master = view(shard.master.defined() ? shard.master : shard.value),
                       .m = view(shard.m),
                       .v = view(shard.v)});
    };
    for_stretches(shard.bucket, model_.parameters(), shard.*begin, shard.*end, stretch);
  }
  return parts;
}

std::vector<Optimizer::Part> Optimizer::kept() const {
  return parts(&Shard::begin, &Shard::end);
}

std::vector<Optimizer::Part> Optimizer::own() const {
  std::vector<Part> own = parts(&Shard::own, &Shard::own_end);
  std::erase_if(own, [](const Part& part) { return part.local.double_of_another; });
  return own;
}

void Optimizer::initialise(RandomKey seed) {
  for (const Part& part : kept()) {
    const at::Tensor values = at::empty(part.master.sizes(), at::kFloat);
    auto* const out = values.mutable_data_ptr<float>();
    part.local.for_runs(part.first, part.first + values.numel(), [&](int64_t whole, int64_t held, int64_t n) {
      fill_initial(model_.catalogue().parameters[part.parameter], seed, whole, n, out + held - part.first);
    });
    part.master.copy_(values);
  }
  masters_changed();
}

void Optimizer::masters_changed() {
  const at::NoGradGuard plain;
  for (Shard& shard : shards_) {
    if (shard.master.defined()) shard.value.copy_(shard.master);
    if (zero_ == 1 || zero_ == 2) gather(shard);
  }
  for (Shard& shard : shards_) {
    finish(shard.gathering);
  }
}

void Optimizer::allocate(const at::Tensor& flat) {
  if (!flat.is_cpu() || is_present(flat)) return;
  restore(flat);
  bytes_ += static_cast<int64_t>(flat.nbytes());
  peak_bytes_ = std::max(peak_bytes_, bytes_.load());
}

void Optimizer::free(const at::Tensor& flat) {
  release(flat);
  bytes_ -= static_cast<int64_t>(flat.nbytes());
}

/// Begins to fill the bucket's values with those of all ranks.
void Optimizer::gather(Shard& shard) {
  if (!shard.shared()) return;
  allocate(shard.bucket.values);
  shard.gathering = shard.sharing.later([&sharing = shard.sharing, all = shard.bucket.values.detach(),
                                         own = shard.value] { sharing.all_gather(all, own); });
}

void Optimizer::begin_update() {
  last_ = false;
  for (Shard& shard : shards_) {
    shard.summed = shard.started = false;
  }
  for (Parameter& parameter : model_.parameters()) {
    parameter.has_gradient = false;
  }
}

void Optimizer::before(size_t block, bool backward) {
  const bool values_go = zero_ >= 3, gradients_go = zero_ >= 2 && backward;
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (!shard.shared()) continue;
    if (values_go && !shard.gathering.valid()) gather(shard);
    if (gradients_go) {
      finish(shard.summing);  // of the micro-batch before: the memory is still its
      allocate(shard.bucket.gradients);
      for (const size_t p : shard.bucket.parameters) {
        model_.parameters()[p].has_gradient = false;
      }
    }
  }
  // At most two blocks' gradients wait to be summed, however slow the network is.
  if (gradients_go && block > 0 && block + 2 < of_block_.size()) {
    for (const size_t i : of_block_[block + 2]) {
      finish(shards_[i].summing);
    }
  }
  if (!values_go) return;
  for (const size_t i : of_block_[block]) {
    finish(shards_[i].gathering);
  }
  // The block that is run next, while this one computes.
  const size_t next = backward ? block - 1 : block + 1;
  if (block == 0 || next == 0 || next >= of_block_.size()) return;
  for (const size_t i : of_block_[next]) {
    if (!shards_[i].gathering.valid()) gather(shards_[i]);
  }
}

void Optimizer::after(size_t block, bool backward) {
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (!shard.shared()) continue;
    if (zero_ >= 3) free(shard.bucket.values);
    if (backward && (last_ || zero_ >= 2)) reduce(shard);
  }
}

/// Begins to add up the gradients that the ranks have in the bucket.
void Optimizer::reduce(Shard& shard) {
  allocate(shard.bucket.gradients);  // they are there unless the block took no part
  for (const size_t p : shard.bucket.parameters) {
    Parameter& parameter = model_.parameters()[p];
    if (!parameter.has_gradient) parameter.gradient.zero_();
    parameter.has_gradient = true;
  }
  shard.summed = true;
  if (!shard.shared()) return;
  const at::Tensor all = shard.bucket.gradients, own = shard.gradient;
  const bool adds = std::exchange(shard.started, true);
  shard.summing = shard.sharing.later([this, &sharing = shard.sharing, all, own, adds] {
    if (zero_ == 0) {
      sharing.all_reduce(all);
    } else if (zero_ == 1) {
      sharing.reduce_scatter(own, all);
    } else {
      const at::Tensor sum = adds ? at::empty_like(own) : own;
      sharing.reduce_scatter(sum, all);
      if (adds) own.add_(sum);
      free(all);
    }
  });
}

double Optimizer::gradient_norm() {
  double sum = 0;
  for (Shard& shard : shards_) {
    if (!shard.summed) reduce(shard);
    finish(shard.summing);
  }
  for (const Shard& shard : shards_) {
    for_stretches(shard.bucket, model_.parameters(), shard.own, shard.own_end,
                  [&](size_t i, int64_t, int64_t at, int64_t count) {
                    if (!local(shard, i).double_of_another)
                      sum += squared_norm(shard.gradient.narrow(0, at - shard.begin, count));
                  });
  }
  return std::sqrt(parallel_.tp.sum(parallel_.dp.sum(sum)));
}

void Optimizer::update(double learning_rate, double norm) {
  ++updates;
  const bool clips = config_.clip_norm > 0 && norm > config_.clip_norm;
  const AdamWStep step = {.learning_rate = learning_rate,
                          .beta1 = config_.beta1,
                          .beta2 = config_.beta2,
                          .epsilon = config_.epsilon,
                          .weight_decay = config_.weight_decay,
                          .step = updates,
                          .gradient_scale = clips ? config_.clip_norm / norm : 1.0};
  for (Shard& shard : shards_) {
    const auto stretch = [&](size_t i, int64_t /*first*/, int64_t at, int64_t count) {
      const auto view = [&](const at::Tensor& x) {
        return x.defined() ? x.narrow(0, at - shard.begin, count) : at::Tensor();
      };
      AdamWTensor tensor = {.value = view(shard.value),
                            .master = view(shard.master),
                            .gradient = view(shard.gradient),
                            .m = view(shard.m),
                            .v = view(shard.v),
                            .decay = model_.catalogue().parameters[shard.bucket.parameters[i]].decay};
      adamw_step(tensor, step);
    };
    for_stretches(shard.bucket, model_.parameters(), shard.begin, shard.end, stretch);
    if (zero_ == 1 || zero_ == 2) gather(shard);
  }
  for (Shard& shard : shards_) {
    finish(shard.gathering);
  }
}

}  // namespace chorus
