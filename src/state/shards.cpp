#include "state/internal/shards.h"

#include <algorithm>
#include <exception>
#include <span>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "kernels/device.h"

namespace chorus::inline state {

Shards::Shards(Transformer& model, Parallel& parallel, const MemoryConfig& memory, StateForm expert_state)
    : model_(model), parallel_(parallel) {
  const at::NoGradGuard plain;
  if (memory.uses(Tier::nvme)) file_ = std::make_unique<ScratchFile>(memory.folder);
  for (Bucket& bucket : model.buckets()) {
    const bool expert = bucket.role == Role::expert;
    Group& sharing = expert ? parallel.edp : parallel.dp;
    Shard shard = {
        plan_shard(bucket, memory, parallel.mesh().zero, sharing.size(), sharing.rank(), expert_state),
        bucket, sharing};
    const Division division = divide(bucket, model.catalogue(), parallel.place(), shard.begin, shard.end);
    const at::ScalarType wide = bucket.gradients.scalar_type();
    const auto arrays = [&](Tier where, int64_t n, at::ScalarType type) {
      return Arrays(where, n, division.cuts, type, model.options().device, file_.get());
    };
    // What comes and goes with its block has no memory at first, the rest has.
    const auto settle = [&](const at::Tensor& flat, bool goes) { goes ? free(flat) : allocate(flat); };
    bytes_ += bucket.values.storage().nbytes() + bucket.gradients.storage().nbytes();
    settle(bucket.values, shard.values_go);
    settle(bucket.gradients, shard.gradients_go);
    const auto view = [&](const at::Tensor& flat) {
      return Arrays(flat.detach().narrow(0, shard.begin, shard.end - shard.begin), division.cuts);
    };
    shard.value = shard.values_go ? arrays(shard.values, 1, bucket.type) : view(bucket.values);
    shard.gradient = shard.gradients_go ? arrays(shard.gradients, 1, wide) : view(bucket.gradients);
    shard.moments = shard.form == StateForm::fp32
                        ? arrays(shard.state, shard.state_rows(), wide)
                        : Arrays(shard.state, 1, packed_cuts(division.cuts, shard.form, shard.state_rows()),
                                 at::kByte, model.options().device, file_.get());
    if (shard.state == Tier::device && shard.form == StateForm::fp32) shard.home = model.options().device;
    shard.expert_of = division.expert_of;
    shard.made.resize(shard.chunks());
    shard.by_use =
        expert && !shard.shared() && (shard.values_go || shard.gradients_go || shard.state != Tier::device);
    if (shard.by_use) shard.experts.resize(local(shard, 0).shape[0]);
    shards_.add(bucket.block, std::move(shard));
  }
  peak_bytes_ = bytes_;
}

bool Shards::settle() {
  const bool failing = std::uncaught_exceptions() > 0;
  bool settled = true;
  for (const Shard& shard : all()) {
    for (const Background* work : {&shard.gathering, &shard.summing, &shard.updating}) {
      if (!work->pending()) continue;
      if (failing && shard.shared() && work != &shard.updating) {
        settled = false;
      } else {
        work->wait();
      }
    }
  }
  if (!settled) return false;
  try {
    const OnCopyStream copies(device());
    DeviceEvent::record(device()).wait();  // copies use memory that goes
  } catch (const c10::Error&) {            // the device is of no use any more
  }
  return true;
}

LocalPart Shards::local(const Shard& shard, size_t i) const {
  return local_part(model_.catalogue().parameters[shard.bucket.parameters[i]], parallel_.place());
}

bool Shards::is_frozen(const Shard& shard, size_t i) const {
  return !frozen_.empty() && frozen_[shard.bucket.parameters[i]];
}

bool Shards::rests(const Shard& shard) const {
  for (size_t i = 0; i < shard.bucket.parameters.size(); ++i) {
    if (!is_frozen(shard, i)) return false;
  }
  return true;
}

void Shards::allocate(const at::Tensor& flat) {
  if (is_present(flat)) return;
  restore(flat);
  bytes_ += static_cast<int64_t>(flat.nbytes());
  peak_bytes_ = std::max(peak_bytes_, bytes_.load());
}

void Shards::free(const at::Tensor& flat) {
  if (!is_present(flat)) return;
  release(flat);
  bytes_ -= static_cast<int64_t>(flat.numel()) * flat.element_size();
}

/// Loads a chunk, and makes up for the updates that it missed, until `made` have been made. From then on the chunk
/// counts as having had all.
Loaded Shards::load(const Chunk& chunk, int64_t made) {
  Shard& shard = chunk.shard;
  shard.copied.wait();
  const int64_t missed = made - std::exchange(shard.made[chunk.number], made_);
  Loaded loaded = {.value = shard.value.load(chunk.number, shard.home),
                   .state = shard.load_state(chunk.number),
                   .caught_up = missed > 0};
  if (!loaded.caught_up) return loaded;
  const std::span steps = std::span(recent_).last(made_ - made + missed).first(missed);
  const auto make = [&](std::span<const AdamWStep> some) {
    for_weights(chunk, loaded, [&](AdamWTensor& weight, int64_t) { adamw_catch_up(weight, some); });
    shard.round_state(loaded.state, some.back().step);
  };
  if (shard.form == StateForm::fp32) {
    make(steps);
  } else {  // rounded after each
    for (size_t i = 0; i < steps.size(); ++i) make(steps.subspan(i, 1));
  }
  return loaded;
}

void Shards::store(const Chunk& chunk, const Loaded& loaded) const {
  chunk.shard.value.store(chunk.number, loaded.value);
  chunk.shard.store_state(chunk.number, loaded.state, updates);
}

void Shards::for_stretches(const Bucket& bucket, int64_t begin, int64_t end,
                           const std::function<void(size_t, int64_t, int64_t, int64_t)>& f) const {
  for (size_t i = 0; i < bucket.parameters.size(); ++i) {
    const int64_t offset = bucket.offsets[i], count = model_.parameters()[bucket.parameters[i]].value.numel();
    const int64_t from = std::max(begin, offset), to = std::min(end, offset + count);
    if (from < to) f(i, from - offset, from, to - from);
  }
}

void Shards::for_weights(const Chunk& chunk, const Loaded& loaded,
                         const std::function<void(AdamWTensor&, int64_t)>& f) {
  const Shard& shard = chunk.shard;
  for_stretches(shard.bucket, chunk.begin(), chunk.end(), [&](size_t i, int64_t, int64_t at, int64_t count) {
    if (is_frozen(shard, i)) return;
    const int64_t within = at - chunk.begin();
    const auto view = [&](const at::Tensor& x) { return x.narrow(0, within, count); };
    AdamWTensor weight = {.value = view(loaded.value[0]),
                          .master = shard.has_master ? view(loaded.state[2]) : at::Tensor(),
                          .gradient = {},
                          .m = view(loaded.state[0]),
                          .v = view(loaded.state[1]),
                          .decay = model_.catalogue().parameters[shard.bucket.parameters[i]].decay};
    f(weight, within);
  });
}

std::span<AdamWTensor> Shards::whole_weights(Shard& shard) {
  std::ranges::fill(shard.made, made_);
  if (!shard.weights.empty()) return shard.weights;
  for_stretches(shard.bucket, shard.begin, shard.end, [&](size_t i, int64_t, int64_t at, int64_t count) {
    if (is_frozen(shard, i)) return;
    const auto view = [&](const Arrays& arrays, int64_t row) {
      return arrays.whole()[row].narrow(0, at - shard.begin, count);
    };
    shard.weights.push_back({.value = view(shard.value, 0),
                             .master = shard.has_master ? view(shard.moments, 2) : at::Tensor(),
                             .gradient = view(shard.gradient, 0),
                             .m = view(shard.moments, 0),
                             .v = view(shard.moments, 1),
                             .decay = model_.catalogue().parameters[shard.bucket.parameters[i]].decay});
  });
  return shard.weights;
}

std::vector<Chunk> Shards::in_update() {
  std::vector<Chunk> chunks;
  for (Shard& shard : all()) {
    if (rests(shard) || is_whole(shard)) continue;
    for (int64_t number = 0; number < shard.chunks(); ++number) {
      if (shard.in_update(number)) chunks.push_back({shard, number});
    }
  }
  return chunks;
}

void Shards::note_update(const AdamWStep& step) {
  ++made_;
  int64_t oldest = made_;
  for (Shard& shard : all()) {
    if (rests(shard)) std::ranges::fill(shard.made, made_);
    for (const int64_t made : shard.made) oldest = std::min(oldest, made);
  }
  recent_.push_back(step);
  recent_.erase(recent_.begin(), recent_.end() - (made_ - oldest));
}

}  // namespace chorus::inline state
