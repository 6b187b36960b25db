// A run as the planner sees it, and what it holds when it is run.
#pragma once

#include "data/batches.h"
#include "memory/usage.h"
#include "plan/memory.h"
#include "state/optimizer.h"
#include "state/stash.h"

namespace chorus {

struct Measured {
  int64_t device = 0, host = 0;
  uint64_t nvme = 0;
};

/// Sentences of the shape that was planned for, padding spread over all but the first.
inline MicroBatch batch_of(const PaddedShape& shape, int64_t vocabulary) {
  std::vector<SentencePair> pairs(shape.rows);
  uint64_t i = 0;
  int64_t source_padding = shape.source_padding, target_padding = shape.target_padding;
  const auto fill = [&](std::vector<int32_t>& pieces, int64_t length, int64_t& padding) {
    const int64_t less = &pieces == &pairs[0].source || &pieces == &pairs[0].target
                             ? 0
                             : std::min(padding, length - kTagAndEnd - 1);
    padding -= less;
    pieces.resize(length - kTagAndEnd - less);
    for (int32_t& piece : pieces) piece = static_cast<int32_t>(4 + i++ * 7 % (vocabulary - 4));
  };
  for (SentencePair& pair : pairs) {
    fill(pair.source, shape.source_length, source_padding);
    fill(pair.target, shape.target_length, target_padding);
    pair.source_tag = pair.target_tag = 4;
  }
  return make_batch(pairs);
}

inline Measured measure(const Job& job, const std::filesystem::path& folder, at::Device device = at::kCPU) {
  const MemoryUse device_before = device_memory(), host_before = host_memory();
  MemoryConfig memory = job.memory;
  memory.folder = folder.string();
  Parallel alone;
  Transformer model(
      job.model,
      {.device = device, .compute = job.compute, .gradients = true, .empty = true, .parallel = &alone});
  OptimConfig optim;
  optim.expert_state = job.expert_state;
  Optimizer optimizer(model, optim, alone, memory);
  if (!job.frozen.empty()) optimizer.freeze(job.frozen);
  std::unique_ptr<TierStash> stash;
  if (memory.activations != Tier::device) stash = std::make_unique<TierStash>(memory.activations, folder);
  optimizer.initialise(RandomKey(1));
  const MicroBatch micro_batch = batch_of(job.batch, job.model.vocabulary);
  for (int update = 0; update < 2; ++update) {
    restart_peaks();
    optimizer.begin_update();
    for (int64_t i = 0; i < job.micro_batches; ++i) {
      if (i + 1 == job.micro_batches) optimizer.last_micro_batch();
      model.train(model.to_batch(micro_batch), {.training = true, .key = RandomKey(3)},
                  {.gradient_scale = 1e-3, .recompute = job.recompute, .stash = stash.get()});
    }
    optimizer.update(1e-3, optimizer.gradient_norm());
  }
  return {.device = device_memory().peak - device_before.now,
          .host = host_memory().peak - host_before.now,
          .nvme = optimizer.bytes_on_disk() + (stash ? stash->bytes_on_disk() : 0)};
}

inline Job small_job() {
  Job job;
  job.model.vocabulary = 2000;
  job.model.d_model = 128;
  job.model.encoder_layers = 4;
  job.model.decoder_layers = 3;
  job.model.attention_heads = 4;
  job.model.ffn_dim = 512;
  job.model.max_positions = 256;
  job.model.moe.experts = 8;
  job.model.moe.capacity_factor = 0;  // what is dropped needs no memory, and cannot be foreseen
  job.batch = {{.rows = 24, .source_length = 30, .target_length = 36}};
  return job;
}

}  // namespace chorus
