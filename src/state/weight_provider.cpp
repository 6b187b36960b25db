#include "state/internal/weight_provider.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>

namespace chorus::inline state {

void WeightProvider::gather(Shard& shard, bool backward) {
  const at::Tensor all = shard.bucket.values.detach();
  shards_.allocate(all);
  const auto bring = [this, &shard, all, awaited = shard.await_values(backward)] {
    shard.updating.follow();
    bring_values(shard, awaited);
    if (shard.in_parts()) shard.sharing.all_gather(all, all.narrow(0, shard.begin, shard.end - shard.begin));
  };
  shard.gathering.begin(shard.sharing, SideStream::copies, shards_.device(), bring);
}

void WeightProvider::begin_update() {
  last = false;
  for (Shard& shard : shards_.all()) {
    shard.summed = shard.started = false;
    shard.squares.reset();
    for (Shard::Use& use : shard.experts) use.gradient_here = use.has_gradient = false;
  }
  for (Parameter& parameter : shards_.parameters()) parameter.has_gradient = false;
}

void WeightProvider::await_departure(Shard& shard) {
  shard.summing.finish();
  shard.gradient.finish();
}

void WeightProvider::ran(Shard& shard) {
  if (!shard.by_use) return;
  shard.value.finish();  // what has been caught up
  shard.moments.finish();
}

void WeightProvider::bring_gradients(Shard& shard) {
  shard.summing.finish();  // that of the micro-batch before, which still uses the memory
  shards_.allocate(shard.bucket.gradients);
  // What only this rank adds to is added to in place, in the same order and so to the same bits as if it
  // had never left; what ranks share is summed micro-batch by micro-batch.
  const bool goes_on = shard.started && !shard.shared();
  for (Shard::Use& use : shard.experts) use.gradient_here = false;
  if (goes_on) bring_gradients(shard, shard.with_gradient_here());
  for (const size_t p : shard.bucket.parameters) shards_.parameters()[p].has_gradient = goes_on;
}

/// Lets chunks make up for the updates that they missed, and their values come where they are computed with.
void WeightProvider::bring_values(Shard& shard, const std::vector<int64_t>& numbers) {
  for_prefetched(
      chunks_of<Chunk>(shard, numbers),
      [&](const Chunk& chunk) {
        shard.value.prefetch(chunk.number);
        if (shards_.is_behind(chunk)) shard.moments.prefetch(chunk.number);
      },
      [&](const Chunk& chunk) {
        const at::Tensor part = shard.part(shard.bucket.values.detach(), chunk.number);
        if (shards_.is_behind(chunk)) {
          const Loaded loaded = shards_.load(chunk);
          shards_.store(chunk, loaded);
          if (shard.values_go) part.copy_(loaded.value[0]);
        } else if (shard.values_go) {
          shard.value.load_into(chunk.number, part);
        }
      });
  shard.copied = DeviceEvent::record(shards_.device());
}

/// Lets gradients of micro-batches before this one come where they are added to.
void WeightProvider::bring_gradients(Shard& shard, const std::vector<int64_t>& numbers) {
  for_prefetched(
      chunks_of<Chunk>(shard, numbers), [&](const Chunk& chunk) { shard.gradient.prefetch(chunk.number); },
      [&](const Chunk& chunk) {
        shard.gradient.load_into(chunk.number, shard.part(shard.bucket.gradients, chunk.number));
      });
}

bool WeightProvider::before_experts(size_t block, const std::vector<int64_t>& rows, bool backward) {
  const at::NoGradGuard plain;
  bool by_use = false;
  for (Shard* const of_block : shards_.list().of(block)) {
    Shard& shard = *of_block;
    if (!shard.by_use) continue;
    by_use = true;
    const bool goes_on = shards_.parameters()[shard.bucket.parameters.front()].has_gradient;
    std::vector<int64_t> values, gradients;
    for (int64_t number = 0; number < shard.chunks(); ++number) {
      const int64_t e = shard.expert_of[number];
      if (e < 0 || rows[e] == 0) continue;
      const Shard::Use& use = shard.experts[e];
      if (shard.values_go ? !use.value_here : shards_.is_behind({shard, number})) values.push_back(number);
      if (!backward || use.gradient_here) continue;
      if (use.has_gradient) {
        gradients.push_back(number);
      } else if (goes_on) {  // without it until now: zero
        shard.part(shard.bucket.gradients, number).zero_();
      }
    }
    bring_values(shard, values);
    bring_gradients(shard, gradients);
    for (size_t e = 0; e < rows.size(); ++e) {
      if (rows[e] > 0) shard.experts[e].need(backward);
    }
  }
  return by_use;
}

}  // namespace chorus::inline state
