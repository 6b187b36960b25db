// What the planner says against what a run holds.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "data/batches.h"
#include "kernels/cpu.h"
#include "layout/shapes.h"
#include "memory/usage.h"
#include "plan/memory.h"
#include "state/frozen.h"
#include "state/optimizer.h"
#include "state/stash.h"
#include "temporary_folder.h"
#include "train/tiers.h"

namespace chorus {
namespace {

struct Measured {
  int64_t device = 0, host = 0;
  uint64_t nvme = 0;
};

/// Sentences of the shape that was planned for, padding spread over all but the first.
MicroBatch batch_of(const PaddedShape& shape, int64_t vocabulary) {
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

Measured measure(const Job& job, const std::filesystem::path& folder) {
  const MemoryUse device_before = device_memory(), host_before = host_memory();
  MemoryConfig memory = job.memory;
  memory.folder = folder.string();
  Parallel alone;
  Transformer model(job.model,
                    {.compute = job.compute, .gradients = true, .empty = true, .parallel = &alone});
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

Job small_job() {
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

struct Case {
  const char* name;
  void (*change)(Job&);
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class PlanMemory : public testing::TestWithParam<Case> {};

TEST_P(PlanMemory, IsWhatARunHolds) {
  const DeviceMemoryCount counting(0);
  Job job = small_job();
  job.isa = cpu_isa();
  job.threads = at::get_num_threads();
  GetParam().change(job);
  const TemporaryFolder folder;
  const Measured measured = measure(job, folder.path());
  const MemoryPlan plan = plan_memory(job);
  const auto near = [](const char* tier, const Holdings& planned, int64_t held) {
    EXPECT_NEAR(static_cast<double>(planned.total()), static_cast<double>(held),
                0.05 * static_cast<double>(held))
        << tier;
  };
  near("device", plan.device, measured.device);
  near("host", plan.host, measured.host);
  near("nvme", plan.nvme, static_cast<int64_t>(measured.nvme));
}

INSTANTIATE_TEST_SUITE_P(
    , PlanMemory,
    testing::Values(
        Case{"plain", [](Job&) {}}, Case{"dense", [](Job& j) { j.model.moe.experts = 0; }},
        Case{"capacity", [](Job& j) { j.model.moe.capacity_factor = 1; }},
        Case{"top2", [](Job& j) { j.model.moe.top_k = 2, j.model.moe.capacity_factor = 2; }},
        Case{"gelu", [](Job& j) { j.model.activation = Activation::gelu; }},
        Case{"swiglu", [](Job& j) { j.model.activation = Activation::swiglu, j.model.biases = false; }},
        Case{"no_dropout", [](Job& j) { j.model.dropout = 0, j.model.moe.jitter = 0; }},
        Case{"attention_dropout", [](Job& j) { j.model.attention_dropout = 0.1; }},
        Case{"activation_dropout", [](Job& j) { j.model.activation_dropout = 0.1; }},
        Case{"bf16", [](Job& j) { j.compute = at::kBFloat16; }},
        Case{"recompute", [](Job& j) { j.recompute = true; }},
        Case{"one_sentence",
             [](Job& j) {
               j.batch = {{1, 200, 3}};
             }},
        Case{"many_rows",
             [](Job& j) {
               j.batch = {{300, 7, 5}};
             }},
        Case{"accumulates", [](Job& j) { j.micro_batches = 3, j.memory.gradients = kHost; }},
        Case{"optimizer_host", [](Job& j) { j.memory.optimizer = kHost; }},
        Case{"all_host",
             [](Job& j) {
               j.recompute = true,
               j.memory = {.parameters = kHost, .gradients = kHost, .optimizer = kHost, .activations = kHost};
             }},
        Case{"all_nvme",
             [](Job& j) {
               j.recompute = true,
               j.memory = {.parameters = kNvme, .gradients = kNvme, .optimizer = kNvme, .activations = kNvme};
             }},
        Case{"nvme_chunks",
             [](Job& j) {
               j.model.moe.experts = 32,
               j.memory = {
                   .parameters = kNvme, .gradients = kNvme, .optimizer = kNvme, .activations = Tier::device};
             }},
        Case{"nvme_bf16",
             [](Job& j) {
               j.compute = at::kBFloat16,
               j.memory = {
                   .parameters = kNvme, .gradients = kHost, .optimizer = kNvme, .activations = Tier::device};
             }},
        Case{"padded", [](Job& j) { j.batch.source_padding = 200, j.batch.target_padding = 250; }},
        Case{"gelu_experts_dropout",
             [](Job& j) {
               j.model.activation = Activation::gelu, j.model.activation_dropout = 0.1;
               j.model.moe.encoder_every = j.model.moe.decoder_every = 1, j.model.moe.top_k = 3;
             }},
        Case{"swiglu_experts",
             [](Job& j) {
               j.model.activation = Activation::swiglu, j.model.moe.encoder_every = 1;
               j.batch = {{8, 16, 16}};
             }},
        Case{"frozen_experts_nvme",
             [](Job& j) {
               j.frozen = frozen_parameters(shapes_of(j.model), {"expert"});
               j.memory.expert_optimizer = kNvme;
             }},
        Case{"bf16_state_nvme", [](Job& j) { j.expert_state = StateForm::bf16, j.memory.optimizer = kNvme; }},
        Case{"fp8_nvme", [](Job& j) { j.expert_state = StateForm::fp8, j.memory.optimizer = kNvme; }},
        Case{"experts_nvme", [](Job& j) { j.memory.expert_parameters = j.memory.expert_optimizer = kNvme; }}),
    [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace chorus
