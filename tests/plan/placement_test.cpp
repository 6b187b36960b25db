// What goes where, the forms, and times, by cases that can be worked out by hand.
#include "plan/placement.h"

#include <functional>

#include <gtest/gtest.h>

#include "base/error.h"
#include "io/files.h"
#include "layout/cost.h"
#include "plan/forms.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

Job job_of_experts(int64_t experts) {
  Job job;
  job.model.vocabulary = 1000;
  job.model.d_model = 64;
  job.model.encoder_layers = job.model.decoder_layers = 4;
  job.model.attention_heads = 4;
  job.model.ffn_dim = 256;
  job.model.max_positions = 64;
  job.model.moe.experts = experts;
  job.batch = {{.rows = 8, .source_length = 16, .target_length = 16}};
  return job;
}

Job automatic(Job job) {
  job.memory = {.parameters = Tier::automatic,
                .gradients = Tier::automatic,
                .optimizer = Tier::automatic,
                .activations = Tier::automatic};
  return job;
}

TEST(Placement, KeepsAllOnTheDeviceWithoutALimit) {
  const auto memory = place(automatic(job_of_experts(8)), {});
  ASSERT_TRUE(memory);
  for (const Tier tier : {Tier::host, Tier::nvme, Tier::automatic}) EXPECT_FALSE(memory->uses(tier));
}

TEST(Placement, MovesTheOptimizerFirstAndThenTheRest) {
  const Job job = automatic(job_of_experts(16));
  Job all = job;
  all.memory = {};
  const MemoryPlan whole = plan_memory(all);
  const int64_t least = whole.device.total() - 1;
  const auto moved = place(job, {.device = least});
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->optimizer, Tier::host);
  EXPECT_EQ(moved->gradients, Tier::device);
  const auto to_disk = place(job, {.device = least, .host = 1});
  EXPECT_FALSE(to_disk) << "chunks on their way to the disk need the host";
  const auto with_buffers = place(job, {.device = least, .host = 64 << 20});
  ASSERT_TRUE(with_buffers);
  const int64_t parameters = whole.device[Purpose::parameters];
  const auto tight = place(job, {.device = whole.device.total() - 3 * parameters - (1 << 20)});
  ASSERT_TRUE(tight);
  EXPECT_EQ(tight->gradients, Tier::host);
  EXPECT_FALSE(place(job, {.device = 1 << 16}));
}

TEST(Placement, LeavesWhatWasAskedForWhereItIs) {
  Job job = job_of_experts(16);
  job.memory.gradients = Tier::automatic;
  EXPECT_FALSE(place(job, {.device = plan_memory(job_of_experts(16)).device[Purpose::optimizer]}));
  job.memory = {};
  job.memory.expert_optimizer = Tier::automatic;
  const auto memory = place(job, {.device = plan_memory(job_of_experts(16)).device.total() - 1});
  ASSERT_TRUE(memory);
  EXPECT_EQ(memory->expert_optimizer, Tier::host);
  EXPECT_EQ(memory->optimizer, Tier::device);
}

TEST(Placement, SaysWhatWouldFit) {
  const Job job = job_of_experts(16);
  const int64_t whole = plan_memory(job).device.total();
  EXPECT_EQ(remedies(job, {.device = whole - 1}), std::vector<std::string>{"memory.optimizer=host"});
  EXPECT_FALSE(remedies(job, {.device = 1 << 16}));
}

TEST(Placement, LeavesAMarginAndRoomForAnyRouting) {
  Job job = automatic(job_of_experts(8));
  job.mesh = {.world = 4, .ep = 4};
  job.model.moe.capacity_factor = 0;
  Job worst = job;
  worst.memory = {};
  const int64_t typical = plan_memory(worst).device.total();
  worst.memory_case = MemoryCase::worst;
  const int64_t most = plan_memory(worst).device.total();
  EXPECT_GT(most, typical);
  worst.skew = {4, 4, 4, 4};  // all choices to one rank: it takes them in chunks, and keeps nothing
  EXPECT_LE(plan_memory(worst).device.total(), most);
  const auto budget = static_cast<int64_t>(kMargin * static_cast<double>(most));
  EXPECT_EQ(place(job, {.device = budget + 1})->optimizer, Tier::device);
  EXPECT_EQ(place(job, {.device = budget - 1})->optimizer, Tier::host);
}

TEST(Placement, CountsReplicasWithoutAMicroBatchOnce) {
  Job job = job_of_experts(8);
  job.mesh = {.world = 8, .tp = 2};
  job.micro_batches = 3;
  EXPECT_EQ(job.rounds(), 1);
  job.micro_batches = 9;
  EXPECT_EQ(job.rounds(), 3);
}

TEST(Forms, HoldMoreWithMoreOfTheMachine) {
  const Job job = job_of_experts(8);
  const Cluster cluster = {.world = 4, .budgets = {.device = 32 << 20, .host = 1 << 30}};
  std::map<std::string, int64_t> parameters;
  for (const Candidate& c : largest_models(job, cluster)) {
    parameters[c.name] = c.parameters;
    EXPECT_TRUE(fits(c.memory, cluster.budgets)) << c.name;
    EXPECT_EQ(c.parameters, cost_of(c.job.model, 1).parameters.total()) << c.name;
  }
  EXPECT_EQ(parameters.size(), 8U);
  EXPECT_GT(parameters["E"], parameters["E+D"]);
  EXPECT_GE(parameters["E+Z"], parameters["E"]);
  EXPECT_GT(parameters["E+D+Z"], parameters["E+D"]);
  EXPECT_GT(parameters["E+Z-Off+M"], 2 * parameters["E+Z+M"]);
  EXPECT_GT(parameters["E+Z-NVMe+M"], parameters["E+Z-Off+M"]);
  EXPECT_THROW(largest_models(job_of_experts(0), cluster), UserError);
  EXPECT_THROW(largest_models(job, {.world = 4}), UserError) << "without a limit there is no largest";
}

TEST(Forms, AreTheBestOfTheirKind) {
  const Job job = job_of_experts(8);
  const Cluster cluster = {.world = 8, .budgets = {.device = 32 << 20}};
  for (const Candidate& c : largest_models(job, cluster)) {
    if (c.name != "E+D") continue;
    EXPECT_EQ(c.settings(), std::vector<std::string>{"parallel.ep=4"}) << "two copies, not four";
    Job more = c.job;
    more.mesh.ep = 2;
    more.memory_case = MemoryCase::worst;
    EXPECT_FALSE(fits(plan_memory(more), cluster.budgets));
  }
}

TEST(Forms, AreBoundedByTheOptions) {
  const Cluster cluster = {.world = 2, .budgets = {.device = int64_t{1} << 60}};
  for (const Candidate& c : largest_models(job_of_experts(8), cluster))
    EXPECT_EQ(c.job.model.moe.experts, kMostExperts) << c.name;
}

Machine machine_of_rates(double rate) {
  Machine m = {.name = "test"};
  m.flops = 1e9 * rate;
  m.device_memory = m.host_memory = m.host_link = m.disk_read = m.disk_write = m.link = m.network =
      1e6 * rate;
  m.latency = 1e-6 / rate;
  return m;
}

TEST(Time, FallsWithTheRates) {
  Job job = job_of_experts(8);
  job.mesh = {.world = 4, .tp = 2, .ep = 2, .zero = 2};
  job.memory.optimizer = Tier::nvme;
  const StepTime slow = plan_time(job, machine_of_rates(1), cost_of(job)),
                 fast = plan_time(job, machine_of_rates(4), cost_of(job));
  EXPECT_NEAR(slow.total(), 4 * fast.total(), 1e-9 * slow.total());
  for (const double part : {slow.compute, slow.exchange, slow.tensor, slow.movement, slow.optimizer})
    EXPECT_GT(part, 0);
  const double flops = 3 * cost_of(job.model, 16).forward_flops() * 8 * 16;
  EXPECT_NEAR(slow.compute, flops / 2 / 1e9, 1e-9);
}

TEST(Time, FallsWithSmallerMomentsOfExperts) {
  Job job = job_of_experts(8);
  job.mesh = {.world = 4, .ep = 2};
  job.memory.expert_optimizer = Tier::nvme;
  const double fp32 = plan_time(job, machine_of_rates(1), cost_of(job)).optimizer;
  job.expert_state = StateForm::bf16;
  EXPECT_LT(plan_time(job, machine_of_rates(1), cost_of(job)).optimizer, fp32);
}

TEST(Machine, IsReadBackAsWritten) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "machine.json";
  write_file_atomically(file, to_json(machine_of_rates(3)).dump());
  EXPECT_EQ(to_json(read_machine(file)), to_json(machine_of_rates(3)));
  for (const char* wrong : {"{}", "[]", "{\"flops\": -1}", "{\"flops\": \"x\"}", "nonsense"}) {
    write_file_atomically(file, wrong);
    EXPECT_THROW(read_machine(file), UserError) << wrong;
  }
}

TEST(Search, FindsTheFastestThatFits) {
  Cluster cluster = {.world = 4, .machine = machine_of_rates(1)};
  const auto free = search_layouts(job_of_experts(8), cluster, 1000);
  ASSERT_GT(free.size(), 20U);
  EXPECT_GE(free.front().tokens_per_second(), free.back().tokens_per_second());
  cluster.budgets.device = free.front().memory.device.total() * 3 / 4;
  for (const Candidate& c : search_layouts(job_of_experts(8), cluster, 5)) {
    EXPECT_TRUE(fits(c.memory, cluster.budgets));
  }
}

/// f(layout) for every one that can be written down, experts placed as the rest or with their state
/// elsewhere.
void for_all_layouts(Job job, int world, const std::function<void(const Job&)>& f) {
  constexpr Tier kTiers[] = {Tier::device, Tier::host, Tier::nvme};
  constexpr int kDegrees[] = {1, 2, 4};
  for (const int tp : kDegrees)
    for (const int ep : kDegrees)
      for (const int etp : kDegrees)
        for (const int zero : {0, 1, 2, 3})
          for (const Tier optimizer : kTiers)
            for (const Tier gradients : kTiers)
              for (const Tier parameters : kTiers)
                for (const Tier expert_optimizer : kTiers) {
                  if (ep * etp > world) continue;
                  job.mesh = {.world = world, .tp = tp, .ep = ep, .etp = etp, .zero = zero};
                  job.memory = {.parameters = parameters, .gradients = gradients, .optimizer = optimizer};
                  job.memory.expert_optimizer = expert_optimizer;
                  for (const bool recompute : {false, true}) {
                    job.recompute = recompute;
                    f(job);
                  }
                }
}

TEST(Search, NoLayoutFoundByHandIsFaster) {
  Job job = job_of_experts(8);
  job.micro_batches = 3;
  job.memory_case = MemoryCase::worst;
  const ModelCost cost = cost_of(job);
  Cluster cluster = {.world = 4, .machine = machine_of_rates(1)};
  cluster.machine->host_link *= 3;
  cluster.machine->ranks_per_host = 2;
  for (const int64_t device : {int64_t{1} << 40, int64_t{16} << 20, int64_t{9} << 20}) {
    cluster.budgets = {.device = device, .host = 20 << 20};
    const auto found = search_layouts(job, cluster, 3);
    ASSERT_FALSE(found.empty());
    const double best = found.front().time->total();
    const auto tokens = static_cast<double>(3 * job.batch.target_tokens());
    EXPECT_NEAR(found.front().tokens_per_second(), tokens / best, 1e-6 * tokens / best) << "of an update";
    for_all_layouts(job, 4, [&](const Job& layout) {
      if (plan_time(layout, *cluster.machine, cost).total() >= best * (1 - 1e-9)) return;
      EXPECT_FALSE(fits(plan_memory(layout), cluster.budgets));
    });
  }
}

}  // namespace
}  // namespace chorus
