// What the optimizer does for experts that come and are updated only when they have tokens.
#include <span>
#include <utility>

#include <ATen/core/grad_mode.h>

#include "chorus/train/optimizer.h"

#include "train/shard.h"

namespace chorus {

std::vector<Optimizer::Chunk> Optimizer::chunks_of(Shard& shard, const std::vector<int64_t>& numbers) {
  std::vector<Chunk> chunks;
  chunks.reserve(numbers.size());
  for (const int64_t number : numbers) {
    chunks.push_back({shard, number});
  }
  return chunks;
}

/// A chunk, which has missed no update; to be stored where it had.
Optimizer::Loaded Optimizer::load(const Chunk& chunk) {
  Shard& shard = chunk.shard;
  const int64_t missed = made_ - std::exchange(shard.made[chunk.number], made_);
  Loaded loaded = {.value = shard.value.load(chunk.number),
                   .state = shard.load_state(chunk.number),
                   .caught_up = missed > 0};
  if (!loaded.caught_up) return loaded;
  const std::span steps = std::span(recent_).last(missed);
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

void Optimizer::store(const Chunk& chunk, const Loaded& loaded) const {
  chunk.shard.value.store(chunk.number, loaded.value);
  chunk.shard.store_state(chunk.number, loaded.state, updates);
}

/// Lets chunks make up for the updates that they missed, and their values come where they are computed with.
void Optimizer::bring_values(Shard& shard, const std::vector<int64_t>& numbers) {
  const auto is_behind = [&](const Chunk& chunk) { return shard.made[chunk.number] < made_; };
  for_prefetched(
      chunks_of(shard, numbers),
      [&](const Chunk& chunk) {
        shard.value.prefetch(chunk.number);
        if (is_behind(chunk)) shard.state.prefetch(chunk.number);
      },
      [&](const Chunk& chunk) {
        at::Tensor value;
        if (is_behind(chunk)) {
          const Loaded loaded = load(chunk);
          store(chunk, loaded);
          value = loaded.value;
        } else {
          value = shard.value.load(chunk.number);
        }
        if (shard.values_go) shard.part(shard.bucket.values.detach(), chunk.number).copy_(value[0]);
      });
}

/// Lets gradients of micro-batches before this one come where they are added to.
void Optimizer::bring_gradients(Shard& shard, const std::vector<int64_t>& numbers) {
  for_prefetched(
      chunks_of(shard, numbers), [&](const Chunk& chunk) { shard.gradient.prefetch(chunk.number); },
      [&](const Chunk& chunk) {
        shard.part(shard.bucket.gradients, chunk.number).copy_(shard.gradient.load(chunk.number)[0]);
      });
}

bool Optimizer::before_experts(size_t block, const std::vector<int64_t>& rows, bool backward) {
  const at::NoGradGuard plain;
  bool by_use = false;
  for (const size_t i : of_block_[block]) {
    Shard& shard = shards_[i];
    if (!shard.by_use) continue;
    by_use = true;
    const bool goes_on = model_.parameters()[shard.bucket.parameters.front()].has_gradient;
    std::vector<int64_t> values, gradients;
    for (int64_t number = 0; number < shard.chunks(); ++number) {
      const int64_t e = shard.expert_of[number];
      if (e < 0 || rows[e] == 0) continue;
      const Shard::Use& use = shard.experts[e];
      if (shard.values_go ? !use.value_here : shard.made[number] < made_) values.push_back(number);
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

/// Those that no chunk has missed.
void Optimizer::forget_steps() {
  int64_t oldest = made_;
  for (const Shard& shard : shards_) {
    for (const int64_t made : shard.made) {
      oldest = std::min(oldest, made);
    }
  }
  recent_.erase(recent_.begin(), recent_.end() - (made_ - oldest));
}

}  // namespace chorus
