#include "chorus/train/optimizer.h"

#include <algorithm>
#include <exception>
#include <future>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>

#include "train/shard.h"

namespace chorus {

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
    const Division division = divide(bucket, model.catalogue(), parallel.place(), shard.begin, shard.end);
    const at::ScalarType wide = bucket.gradients.scalar_type();
    const auto arrays = [&](Tier where, int64_t n, at::ScalarType type) {
      return Arrays(where, n, division.cuts, type, model.options().device, file_.get());
    };
    // What comes and goes has no memory now, the rest has it.
    const auto settle = [&](const at::Tensor& flat, bool goes) { goes ? free(flat) : allocate(flat); };
    bytes_ += bucket.values.storage().nbytes() + bucket.gradients.storage().nbytes();
    settle(bucket.values, shard.values_go);
    settle(bucket.gradients, shard.gradients_go);
    const auto view = [&](const at::Tensor& flat) {
      return Arrays(flat.detach().narrow(0, shard.begin, shard.end - shard.begin), division.cuts);
    };
    shard.value = shard.values_go ? arrays(values, 1, bucket.type) : view(bucket.values);
    shard.gradient = shard.gradients_go ? arrays(gradients, 1, wide) : view(bucket.gradients);
    const Tier state = tier(memory.optimizer, memory.expert_optimizer);
    if (expert && wide == at::kFloat) shard.form = config.expert_state;
    shard.state = shard.form == StateForm::fp32
                      ? arrays(state, shard.state_rows(), wide)
                      : Arrays(state, 1, packed_cuts(division.cuts, shard.form, shard.state_rows()),
                               at::kByte, model.options().device, file_.get());
    shard.expert_of = division.expert_of;
    shard.made.resize(shard.chunks());
    shard.by_use =
        expert && !shard.shared() && (shard.values_go || shard.gradients_go || state != Tier::device);
    if (shard.by_use) shard.experts.resize(local(shard, 0).shape[0]);
    if (of_block_.size() <= bucket.block) of_block_.resize(bucket.block + 1);
    of_block_[bucket.block].push_back(shards_.size());
    shards_.push_back(std::move(shard));
  }
  peak_bytes_ = bytes_;
  model_.watch(this);
}

bool Optimizer::values_stay() const {
  return std::ranges::none_of(shards_, [](const Shard& shard) { return shard.values_go || shard.by_use; });
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

/// work(shard, chunk) for the chunks of an update that this rank keeps, but of shards that rest,
/// prefetch(shard, chunk) some time before. What was written two shards ago is waited for, so that its memory
/// is free.
template <class Prefetch, class Work>
void Optimizer::for_update(const Prefetch& prefetch, const Work& work) {
  constexpr size_t kBehind = 2;
  std::vector<Chunk> chunks;
  for (Shard& shard : shards_) {
    if (rests(shard)) continue;
    for (int64_t number = 0; number < shard.chunks(); ++number) {
      if (shard.in_update(number)) chunks.push_back({shard, number});
    }
  }
  auto unfinished = shards_.begin();
  for_prefetched(chunks, prefetch, [&](const Chunk& chunk) {
    for (; &*unfinished + kBehind <= &chunk.shard; ++unfinished) unfinished->finish_writing();
    work(chunk);
  });
  for (; unfinished != shards_.end(); ++unfinished) unfinished->finish_writing();
}

/// Of the bucket's parameter number i.
LocalPart Optimizer::local(const Shard& shard, size_t i) const {
  return local_part(model_.catalogue().parameters[shard.bucket.parameters[i]], parallel_.place());
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

/// f(a weight's stretch of a chunk without its gradient, where in the chunk it begins), for each.
void Optimizer::for_weights(const Chunk& chunk, const Loaded& loaded,
                            const std::function<void(AdamWTensor&, int64_t)>& f) {
  const Shard& shard = chunk.shard;
  for_stretches(shard.bucket, model_.parameters(), chunk.begin(), chunk.end(),
                [&](size_t i, int64_t, int64_t at, int64_t count) {
                  if (is_frozen(shard, i)) return;
                  const int64_t within = at - chunk.begin();
                  const auto view = [&](const at::Tensor& x) { return x.narrow(0, within, count); };
                  AdamWTensor weight = {
                      .value = view(loaded.value[0]),
                      .master = shard.has_master ? view(loaded.state[2]) : at::Tensor(),
                      .gradient = {},
                      .m = view(loaded.state[0]),
                      .v = view(loaded.state[1]),
                      .decay = model_.catalogue().parameters[shard.bucket.parameters[i]].decay};
                  f(weight, within);
                });
}

/// Of the elements of a chunk.
void Optimizer::visit_chunk(const Chunk& chunk, bool changes, const Visit& visit) {
  const Shard& shard = chunk.shard;
  const Loaded loaded = load(chunk);
  const at::Tensor master = shard.has_master ? loaded.state[2] : loaded.value[0];
  const auto stretch = [&](size_t i, int64_t within, int64_t at, int64_t count) {
    const auto view = [&](const at::Tensor& x) { return x.narrow(0, at - chunk.begin(), count); };
    visit({.parameter = shard.bucket.parameters[i],
           .local = local(shard, i),
           .first = within,
           .master = view(master),
           .m = view(loaded.state[0]),
           .v = view(loaded.state[1])});
  };
  const int64_t from = changes ? chunk.begin() : std::max(chunk.begin(), shard.own);
  const int64_t to = changes ? chunk.end() : std::min(chunk.end(), shard.own_end);
  for_stretches(shard.bucket, model_.parameters(), from, to, stretch);
  if (changes && shard.has_master) loaded.value[0].copy_(master);
  if (changes || loaded.caught_up) store(chunk, loaded);
}

void Optimizer::read(const Visit& visit) {
  const Visit own = [&](const Part& part) {
    if (!part.local.double_of_another) visit(part);
  };
  for (Shard& shard : shards_) {
    for (int64_t number = 0; number < shard.chunks(); ++number) {
      visit_chunk({shard, number}, false, own);
    }
    shard.finish_writing();
  }
}

void Optimizer::change(const Visit& visit) {
  const at::NoGradGuard plain;
  for (Shard& shard : shards_) {
    for (int64_t number = 0; number < shard.chunks(); ++number) {
      visit_chunk({shard, number}, true, visit);
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
    if (!shard.values_go && shard.in_parts()) gather(shard, false);
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
void Optimizer::gather(Shard& shard, bool backward) {
  const at::Tensor all = shard.bucket.values.detach();
  allocate(all);
  shard.gathering = shard.sharing.later([this, &shard, all, awaited = shard.await_values(backward)] {
    bring_values(shard, awaited);
    if (shard.in_parts()) shard.sharing.all_gather(all, all.narrow(0, shard.begin, shard.end - shard.begin));
  });
}

void Optimizer::begin_update() {
  last_ = false;
  for (Shard& shard : shards_) {
    shard.summed = shard.started = false;
    for (Shard::Use& use : shard.experts) {
      use.gradient_here = use.has_gradient = false;
    }
  }
  for (Parameter& parameter : model_.parameters()) {
    parameter.has_gradient = false;
  }
}

void Optimizer::before(size_t block, bool backward) {
  // At most one other block's gradients wait to leave, however slow what takes them is.
  if (backward && block > 0 && block + 2 < of_block_.size()) {
    for (const size_t i : of_block_[block + 2]) {
      if (!shards_[i].gradients_go) continue;
      finish(shards_[i].summing);
      shards_[i].gradient.finish();
    }
  }
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (shard.values_go && !shard.gathering.valid()) gather(shard, backward);
    if (shard.gradients_go && backward) {
      finish(shard.summing);  // of the micro-batch before: the memory is still its
      allocate(shard.bucket.gradients);
      // What only this rank adds to is added to in place, in the same order and so to the same bits as if it
      // had never left; what ranks share is summed micro-batch by micro-batch.
      const bool goes_on = shard.started && !shard.shared();
      for (Shard::Use& use : shard.experts) {
        use.gradient_here = false;
      }
      if (goes_on) bring_gradients(shard, shard.with_gradient_here());
      for (const size_t p : shard.bucket.parameters) {
        model_.parameters()[p].has_gradient = goes_on;
      }
    }
  }
  for (const size_t i : of_block_[block]) {
    finish(shards_[i].gathering);
  }
  // The block that is run next, while this one computes.
  const size_t next = backward ? block - 1 : block + 1;
  if (block == 0 || next == 0 || next >= of_block_.size()) return;
  for (const size_t i : of_block_[next]) {
    if (shards_[i].values_go && !shards_[i].gathering.valid()) gather(shards_[i], backward);
  }
}

void Optimizer::after(size_t block, bool backward) {
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (shard.values_go) free(shard.bucket.values);
    if (shard.by_use) {  // what has been caught up
      shard.value.finish();
      shard.state.finish();
    }
    if (backward && (shard.gradients_go || (last_ && shard.shared()))) reduce(shard);
  }
}

/// Begins to add up the gradients that the ranks have in the bucket.
void Optimizer::reduce(Shard& shard) {
  const at::Tensor all = shard.bucket.gradients;
  allocate(all);  // they are there unless the block took no part
  for (const size_t p : shard.bucket.parameters) {
    Parameter& parameter = model_.parameters()[p];
    const bool by_slice = shard.by_use && is_divided(model_.catalogue().parameters[p]);
    if (!parameter.has_gradient && !by_slice) parameter.gradient.zero_();
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
    for (const int64_t chunk : shard.with_gradient_here()) {
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
  for_update([](const Chunk& chunk) { chunk.shard.gradient.prefetch(chunk.number); },
             [&](const Chunk& chunk) {
               const Shard& shard = chunk.shard;
               const at::Tensor gradient = chunk.shard.gradient.load(chunk.number)[0];
               for_stretches(shard.bucket, model_.parameters(), std::max(chunk.begin(), shard.own),
                             std::min(chunk.end(), shard.own_end),
                             [&](size_t i, int64_t, int64_t at, int64_t count) {
                               if (!is_frozen(shard, i) && !local(shard, i).double_of_another)
                                 sum += squared_norm(gradient.narrow(0, at - chunk.begin(), count));
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
  for_update(
      [](const Chunk& chunk) {
        Shard& shard = chunk.shard;
        for (Arrays* arrays : {&shard.gradient, &shard.state, &shard.value}) arrays->prefetch(chunk.number);
      },
      [&](const Chunk& chunk) {
        Shard& shard = chunk.shard;
        const Loaded loaded = load(chunk);
        const at::Tensor gradient = shard.gradient.load(chunk.number)[0];
        for_weights(chunk, loaded, [&](AdamWTensor& weight, int64_t at) {
          weight.gradient = gradient.narrow(0, at, weight.m.numel());
          adamw_step(weight, step);
        });
        store(chunk, loaded);
        ++shard.made[chunk.number];
        const bool last = chunk.number + 1 == shard.chunks();
        if (last && !shard.values_go && shard.in_parts()) gather(shard, false);
      });
  ++made_;
  for (Shard& shard : shards_) {
    if (rests(shard)) std::ranges::fill(shard.made, made_);
  }
  recent_.push_back(step);
  forget_steps();
  for (Shard& shard : shards_) {
    finish(shard.gathering);
  }
}

}  // namespace chorus
