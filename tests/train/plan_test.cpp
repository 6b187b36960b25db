// What the planner says against what a run holds.
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "kernels/cpu.h"
#include "layout/shapes.h"
#include "state/frozen.h"
#include "temporary_folder.h"
#include "train/planned_run.h"
#include "train/tiers.h"

namespace chorus {
namespace {

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
        Case{"post_norm", [](Job& j) { j.model.post_norm = j.model.output_bias = true; }},
        Case{"post_norm_dense",
             [](Job& j) {
               j.model.post_norm = j.model.output_bias = true, j.model.moe.experts = 0;
               j.model.positions = Positions::marian, j.model.activation = Activation::silu;
             }},
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
