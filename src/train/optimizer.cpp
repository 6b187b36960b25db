#include "chorus/train/optimizer.h"

#include <algorithm>
#include <exception>
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
  // Whether what the bucket itself has comes and goes, and `value` and `gradient` are no views of it.
  bool values_go = false, gradients_go = false;
  Arrays value;     // what AdamW writes
  Arrays gradient;  // fp32
  Arrays state;     // fp32: m, v, and the master unless `value` is fp32
  bool has_master = false;
  bool summed = false;   // the gradient is that of all ranks
  bool started = false;  // `gradient`, where it is no view, holds something of this update
  std::future<void> gathering, summing;

  [[nodiscard]] bool shared() const { return sharing.size() > 1; }
  void finish_writing() {
    for (Arrays* arrays : {&value, &gradient, &state}) arrays->finish();
  }
  [[nodiscard]] bool in_parts() const { return end - begin < bucket.elements; }
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

Optimizer::Optimizer(Transformer& model, const OptimConfig& config, Parallel& parallel,
                     const MemoryConfig& memory)
    : model_(model), config_(config), parallel_(parallel), zero_(parallel.mesh().zero) {
  const at::NoGradGuard plain;
  if (memory.uses(Tier::nvme)) file_ = std::make_unique<ScratchFile>(memory.folder);
  for (Bucket& bucket : model.buckets()) {
    const bool expert = bucket.role == Role::expert;
    const auto tier = [&](Tier all, std::optional<Tier> experts) {
      return expert ? experts.value_or(all) : all;
    };
    const Tier values = tier(memory.parameters, memory.expert_parameters);
    const Tier gradients = tier(memory.gradients, memory.expert_gradients);
    Shard shard = {.bucket = bucket, .sharing = expert ? parallel.edp : parallel.dp};
    const int64_t part = bucket.elements / shard.sharing.size();
    shard.own = part * shard.sharing.rank();
    shard.own_end = shard.own + part;
    shard.begin = zero_ >= 1 ? shard.own : 0;
    shard.end = zero_ >= 1 ? shard.own_end : bucket.elements;
    shard.values_go = (zero_ >= 3 && shard.shared()) || values != Tier::device;
    shard.gradients_go = (zero_ >= 2 && shard.shared()) || gradients != Tier::device;
    shard.has_master = bucket.type != bucket.gradients.scalar_type();
    const int64_t count = shard.end - shard.begin;
    const at::ScalarType wide = bucket.gradients.scalar_type();
    const auto arrays = [&](Tier where, int64_t n, at::ScalarType type) {
      return Arrays(where, n, count, type, model.options().device, file_.get());
    };
    // What comes and goes has no memory now, the rest has it.
    const auto settle = [&](const at::Tensor& flat, bool goes) { goes ? free(flat) : allocate(flat); };
    bytes_ += bucket.values.storage().nbytes() + bucket.gradients.storage().nbytes();
    settle(bucket.values, shard.values_go);
    settle(bucket.gradients, shard.gradients_go);
    const auto view = [&](const at::Tensor& flat) {
      return Arrays(flat.detach().narrow(0, shard.begin, count));
    };
    shard.value = shard.values_go ? arrays(values, 1, bucket.type) : view(bucket.values);
    shard.gradient = shard.gradients_go ? arrays(gradients, 1, wide) : view(bucket.gradients);
    shard.state = arrays(tier(memory.optimizer, memory.expert_optimizer), shard.has_master ? 3 : 2, wide);
    if (of_block_.size() <= bucket.block) of_block_.resize(bucket.block + 1);
    of_block_[bucket.block].push_back(shards_.size());
    shards_.push_back(std::move(shard));
  }
  peak_bytes_ = bytes_;
  model_.watch(this);
}

Optimizer::~Optimizer() {
  model_.watch(nullptr);
  // Where an exception passes, other ranks may never come: the process is about to end them all.
  const bool failing = std::uncaught_exceptions() > 0;
  bool stuck = false;
  for (const Shard& shard : shards_) {
    for (const std::future<void>* work : {&shard.gathering, &shard.summing}) {
      if (!work->valid()) continue;
      if (failing && shard.shared()) {
        stuck = true;
      } else {
        work->wait();
      }
    }
  }
  if (stuck) {  // what such work uses stays
    static_cast<void>(file_.release());
    static_cast<void>(std::make_unique<std::vector<Shard>>(std::move(shards_)).release());
  }
}

/// work(shard, chunk) for all chunks that this rank keeps, but of shards that rest; prefetch(shard, chunk) is
/// called two chunks ahead, and what was written two shards ago is waited for, so that its memory is free.
template <class Prefetch, class Work>
void Optimizer::for_chunks(const Prefetch& prefetch, const Work& work) {
  constexpr size_t kAhead = 2, kBehind = 2;
  std::vector<std::pair<size_t, int64_t>> all;  // the shard's number
  for (size_t i = 0; i < shards_.size(); ++i) {
    if (rests(shards_[i])) continue;
    for (int64_t chunk = 0; chunk < shards_[i].state.chunks(); ++chunk) all.emplace_back(i, chunk);
  }
  for (size_t i = 0; i < std::min(kAhead, all.size()); ++i) prefetch(shards_[all[i].first], all[i].second);
  for (size_t i = 0; i < all.size(); ++i) {
    const auto [number, chunk] = all[i];
    if (i + kAhead < all.size()) prefetch(shards_[all[i + kAhead].first], all[i + kAhead].second);
    if (chunk == 0 && number >= kBehind) shards_[number - kBehind].finish_writing();
    work(shards_[number], chunk);
  }
  for (Shard& shard : shards_) {
    shard.finish_writing();
  }
}

/// Of the bucket's parameter number i.
LocalPart Optimizer::local(const Shard& shard, size_t i) const {
  return local_part(model_.catalogue().parameters[shard.bucket.parameters[i]], parallel_);
}

bool Optimizer::is_frozen(const Shard& shard, size_t i) const {
  return !frozen_.empty() && frozen_[shard.bucket.parameters[i]];
}

/// Whether all of it is frozen.
bool Optimizer::rests(const Shard& shard) const {
  for (size_t i = 0; i < shard.bucket.parameters.size(); ++i) {
    if (!is_frozen(shard, i)) return false;
  }
  return true;
}

/// Of the elements of a chunk.
void Optimizer::visit_chunk(Shard& shard, int64_t chunk, bool changes, const Visit& visit) {
  const at::Tensor value = shard.value.load(chunk), state = shard.state.load(chunk);
  const at::Tensor master = shard.has_master ? state[2] : value[0];
  const int64_t first = shard.begin + shard.state.first(chunk), last = first + shard.state.size(chunk);
  const auto stretch = [&](size_t i, int64_t within, int64_t at, int64_t count) {
    const auto view = [&](const at::Tensor& x) { return x.narrow(0, at - first, count); };
    visit({.parameter = shard.bucket.parameters[i],
           .local = local(shard, i),
           .first = within,
           .master = view(master),
           .m = view(state[0]),
           .v = view(state[1])});
  };
  const auto [from, to] =
      changes ? std::pair(first, last) : std::pair(std::max(first, shard.own), std::min(last, shard.own_end));
  for_stretches(shard.bucket, model_.parameters(), from, to, stretch);
  if (!changes) return;
  if (shard.has_master) value[0].copy_(master);
  shard.value.store(chunk, value);
  shard.state.store(chunk, state);
}

void Optimizer::read(const Visit& visit) {
  const Visit own = [&](const Part& part) {
    if (!part.local.double_of_another) visit(part);
  };
  for (Shard& shard : shards_) {
    for (int64_t chunk = 0; chunk < shard.state.chunks(); ++chunk) {
      visit_chunk(shard, chunk, false, own);
    }
  }
}

void Optimizer::change(const Visit& visit) {
  const at::NoGradGuard plain;
  for (Shard& shard : shards_) {
    for (int64_t chunk = 0; chunk < shard.state.chunks(); ++chunk) {
      visit_chunk(shard, chunk, true, visit);
    }
    shard.finish_writing();
  }
  gather_all();
}

void Optimizer::initialise(RandomKey seed) {
  change([&](const Part& part) {
    const at::Tensor values = at::empty(part.master.sizes(), at::kFloat);
    auto* const out = values.mutable_data_ptr<float>();
    part.local.for_runs(part.first, part.first + values.numel(), [&](int64_t whole, int64_t held, int64_t n) {
      fill_initial(model_.catalogue().parameters[part.parameter], seed, whole, n, out + held - part.first);
    });
    part.master.copy_(values);
  });
}

/// Values that stay are put together from all ranks' parts.
void Optimizer::gather_all() {
  for (Shard& shard : shards_) {
    if (!shard.values_go && shard.in_parts()) gather(shard);
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
  if (!is_present(flat)) return;
  release(flat);
  bytes_ -= static_cast<int64_t>(flat.numel()) * flat.element_size();
}

/// Begins to fill the bucket's values: with what this rank keeps, and what others do.
void Optimizer::gather(Shard& shard) {
  const at::Tensor all = shard.bucket.values.detach();
  allocate(all);
  shard.gathering = shard.sharing.later([&shard, all] {
    const at::Tensor kept = all.narrow(0, shard.begin, shard.end - shard.begin);
    if (shard.values_go) shard.value.copy_to(kept);
    if (shard.in_parts()) shard.sharing.all_gather(all, kept);
  });
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
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (shard.values_go && !shard.gathering.valid()) gather(shard);
    if (shard.gradients_go && backward) {
      finish(shard.summing);  // of the micro-batch before: the memory is still its
      allocate(shard.bucket.gradients);
      // What only this rank adds to is added to in place, in the same order and so to the same bits as if it
      // had never left; what ranks share is summed micro-batch by micro-batch.
      const bool goes_on = shard.started && !shard.shared();
      if (goes_on) shard.gradient.copy_to(shard.bucket.gradients);
      for (const size_t p : shard.bucket.parameters) {
        model_.parameters()[p].has_gradient = goes_on;
      }
    }
  }
  // At most two blocks' gradients wait to leave, however slow what takes them is.
  if (backward && block > 0 && block + 2 < of_block_.size()) {
    for (const size_t i : of_block_[block + 2]) {
      if (!shards_[i].gradients_go) continue;
      finish(shards_[i].summing);
      shards_[i].gradient.finish();
    }
  }
  for (const size_t i : of_block_[block]) {
    finish(shards_[i].gathering);
  }
  // The block that is run next, while this one computes.
  const size_t next = backward ? block - 1 : block + 1;
  if (block == 0 || next == 0 || next >= of_block_.size()) return;
  for (const size_t i : of_block_[next]) {
    if (shards_[i].values_go && !shards_[i].gathering.valid()) gather(shards_[i]);
  }
}

void Optimizer::after(size_t block, bool backward) {
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (shard.values_go) free(shard.bucket.values);
    if (backward && (shard.gradients_go || (last_ && shard.shared()))) reduce(shard);
  }
}

/// Begins to add up the gradients that the ranks have in the bucket.
void Optimizer::reduce(Shard& shard) {
  const at::Tensor all = shard.bucket.gradients;
  allocate(all);  // they are there unless the block took no part
  for (const size_t p : shard.bucket.parameters) {
    Parameter& parameter = model_.parameters()[p];
    if (!parameter.has_gradient) parameter.gradient.zero_();
    parameter.has_gradient = true;
  }
  shard.summed = true;
  if (!shard.shared() && !shard.gradients_go) return;
  const bool adds = std::exchange(shard.started, true) && shard.shared();
  shard.summing = shard.sharing.later([this, &shard, all, adds] {
    at::Tensor sum = all.narrow(0, shard.begin, shard.end - shard.begin);
    if (shard.in_parts()) {
      if (shard.gradients_go) sum = at::empty_like(sum);
      shard.sharing.reduce_scatter(sum, all);
    } else {
      shard.sharing.all_reduce(all);
    }
    if (!shard.gradients_go) return;
    for (int64_t chunk = 0; chunk < shard.gradient.chunks(); ++chunk) {
      const at::Tensor more = sum.narrow(0, shard.gradient.first(chunk), shard.gradient.size(chunk));
      const at::Tensor kept = adds ? shard.gradient.load(chunk) : shard.gradient.blank(chunk);
      adds ? kept[0].add_(more) : kept[0].copy_(more);
      shard.gradient.store(chunk, kept);
    }
    free(all);
  });
}

double Optimizer::gradient_norm() {
  double sum = 0;
  for (Shard& shard : shards_) {
    if (!shard.summed) reduce(shard);
    finish(shard.summing);
  }
  for_chunks(
      [](Shard& shard, int64_t chunk) { shard.gradient.prefetch(chunk); },
      [&](Shard& shard, int64_t chunk) {
        const at::Tensor gradient = shard.gradient.load(chunk)[0];
        const int64_t first = shard.begin + shard.gradient.first(chunk), last = first + gradient.numel();
        for_stretches(shard.bucket, model_.parameters(), std::max(first, shard.own),
                      std::min(last, shard.own_end), [&](size_t i, int64_t, int64_t at, int64_t count) {
                        if (!is_frozen(shard, i) && !local(shard, i).double_of_another)
                          sum += squared_norm(gradient.narrow(0, at - first, count));
                      });
      });
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
  const auto prefetch = [](Shard& shard, int64_t chunk) {
    shard.gradient.prefetch(chunk);
    shard.state.prefetch(chunk);
    shard.value.prefetch(chunk);
  };
  for_chunks(prefetch, [&](Shard& shard, int64_t chunk) {
    const at::Tensor value = shard.value.load(chunk), state = shard.state.load(chunk),
                     gradient = shard.gradient.load(chunk);
    const int64_t first = shard.begin + shard.state.first(chunk);
    const auto stretch = [&](size_t i, int64_t, int64_t at, int64_t count) {
      if (is_frozen(shard, i)) return;
      const auto view = [&](const at::Tensor& x) { return x.narrow(0, at - first, count); };
      AdamWTensor tensor = {.value = view(value[0]),
                            .master = shard.has_master ? view(state[2]) : at::Tensor(),
                            .gradient = view(gradient[0]),
                            .m = view(state[0]),
                            .v = view(state[1]),
                            .decay = model_.catalogue().parameters[shard.bucket.parameters[i]].decay};
      adamw_step(tensor, step);
    };
    for_stretches(shard.bucket, model_.parameters(), first, first + gradient.size(1), stretch);
    shard.value.store(chunk, value);
    shard.state.store(chunk, state);
    const bool last = chunk + 1 == shard.state.chunks();
    if (last && !shard.values_go && shard.in_parts()) gather(shard);
  });
  for (Shard& shard : shards_) {
    finish(shard.gathering);
  }
}

}  // namespace chorus
