// A bucket as the optimizer sees it, and the chunks of its state.
#pragma once

#include <algorithm>
#include <optional>
#include <vector>

#include "comm/background.h"
#include "kernels/adamw.h"
#include "optim/compact_state.h"
#include "parallel/mesh.h"
#include "state/division.h"

#include "state/internal/shard_plan.h"

namespace chorus::inline state {

/// A bucket, and what this rank keeps of its state. All its arrays number their chunks alike. What leaves
/// the device is no view of the bucket's own tensors.
struct Shard : ShardPlan {
  /// The state of an expert that is fetched by use.
  struct Use {
    bool needed = false;  // it has rows in this micro-batch
    bool value_here = false, gradient_here = false;
    bool has_gradient = false;  // of this update

    void need(bool backward) {
      needed = value_here = true;
      if (backward) gradient_here = has_gradient = true;
    }
  };

  Bucket& bucket;
  Group& sharing;
  Arrays value;     // what AdamW writes
  Arrays gradient;  // fp32
  Arrays moments;   // fp32: m, v, and the master unless `value` is fp32; or bytes
  // Where it is updated: where its moments lie, on the host where they are packed or on disk. Chunks of values
  // and gradients that lie elsewhere are copied there.
  at::Device home = at::kCPU;
  bool summed = false;                  // the gradient is that of all ranks
  bool started = false;                 // `gradient`, where it is no view, holds something of this update
  std::optional<SumOfSquares> squares;  // of what has left for the host, once that is all of the update
  Background gathering, summing;
  Background updating;  // AdamW on the host of an accelerator; gathering follows it
  DeviceEvent copied;   // the last copies from `value`, which must not change before

  std::vector<AdamWTensor> weights;  // Shards::whole_weights(): views, made once

  std::vector<int64_t> expert_of;  // Division::expert_of
  std::vector<int64_t> made;       // of each chunk: how many of the optimizer's updates it has had
  bool by_use = false;             // experts without rows are not fetched, and updated later
  std::vector<Use> experts;        // where by_use

  [[nodiscard]] int64_t chunks() const { return value.chunks(); }
  /// Whether a chunk's gradient is not known to be zero; `f` tells it of an expert.
  template <class F>
  [[nodiscard]] bool takes_part(int64_t chunk, const F& f) const {
    return !by_use || expert_of[chunk] < 0 || f(experts[expert_of[chunk]]);
  }
  [[nodiscard]] bool in_update(int64_t chunk) const {
    return takes_part(chunk, [](const Use& use) { return use.has_gradient; });
  }
  /// Returns the chunks whose gradient on the device is that of the micro-batch.
  [[nodiscard]] std::vector<int64_t> with_gradient_here() const;
  /// Returns a chunk's part of a flat tensor of the bucket.
  [[nodiscard]] at::Tensor part(const at::Tensor& flat, int64_t chunk) const {
    return flat.narrow(0, begin + value.first(chunk), value.size(chunk));
  }
  /// Loads state: fp32 [state_rows(), elements] at `home`, unpacked where it is packed.
  at::Tensor load_state(int64_t chunk);
  /// Stores state [state_rows(), elements] after update number `step`, packed where it is packed.
  void store_state(int64_t chunk, const at::Tensor& wide, int64_t step);
  /// Rounds `wide` as store_state() would.
  void round_state(const at::Tensor& wide, int64_t step) const;
  void finish_writing() {
    for (Arrays* arrays : {&value, &gradient, &moments}) arrays->finish();
  }
  /// Returns the chunks of values that the block is known to need before it runs (or runs back); they count as there
  /// from then on. Where it is by use, those of the experts that it needed when it ran; of what is not known yet, all
  /// experts if it needed all when it ran last.
  std::vector<int64_t> await_values(bool backward);
};

/// One chunk of a shard's arrays, its elements numbered as the bucket's.
struct Chunk {
  Shard& shard;
  int64_t number;
  [[nodiscard]] int64_t size() const { return shard.value.size(number); }
  [[nodiscard]] int64_t begin() const { return shard.begin + shard.value.first(number); }
  [[nodiscard]] int64_t end() const { return begin() + size(); }
};

/// What belongs to it, [arrays, size()] each, at the shard's home.
struct Loaded {
  at::Tensor value, state;
  bool caught_up = false;  // with updates that it had missed: they have changed
};

}  // namespace chorus::inline state
