#include "train/job.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "io/files.h"
#include "kernels/device.h"
#include "layout/shapes.h"
#include "memory/usage.h"
#include "state/frozen.h"

#include "train/internal/initial_model.h"
#include "train/internal/inputs.h"
#include "train/internal/run_files.h"
#include "train/internal/run_folder.h"

namespace chorus::inline train {

namespace {

/// "optimizer 1.2 GB, gradients 0.6 GB": the largest first.
std::string text_of(const Holdings& held) {
  std::vector<std::pair<int64_t, std::string_view>> parts;
  for (size_t i = 0; i < kPurposes.size(); ++i) {
    if (held.bytes[i] > 0) parts.emplace_back(held.bytes[i], kPurposes[i]);
  }
  std::ranges::sort(parts, std::greater());
  std::vector<std::string> words;
  words.reserve(parts.size());
  for (const auto& [bytes, name] : parts) words.push_back(fmt::format("{} {}", name, human_bytes(bytes)));
  return join(words, ", ");
}

/// UserError when a rank alone takes more memory than there is: the system would end it, in the middle.
void check_machine(const RunConfig& config, const MemoryPlan& plan) {
  Holdings held = plan.host;
  for (size_t i = 0; names_host(config.device) && i < kPurposes.size(); ++i)
    held.bytes[i] += plan.device.bytes[i];
  const int64_t there = machine_memory();
  if (static_cast<double>(held.total()) > kMargin * static_cast<double>(there)) {
    throw UserError(
        "this run holds {} of memory ({}), and this machine has {}: lower data.batch_tokens, or take a "
        "smaller "
        "model; `chorus plan` shows what it takes",
        human_bytes(held.total()), text_of(held), human_bytes(there));
  }
}

/// What memory.save_budget allows, the run can use, and its plan leaves.
int64_t save_budget(const RunConfig& config, const Job& job, const SettledMemory& settled,
                    const Group& ranks) {
  int64_t held = settled.most.host.total(),
          there = parse_bytes(config.memory.host_budget, "memory.host_budget");
  if (there == 0) {
    there = machine_memory() / ranks.ranks_here();
    if (!job.accelerator) held += settled.most.device.total();
  }
  const auto left = static_cast<int64_t>(static_cast<double>(there) - kMargin * static_cast<double>(held));
  return std::clamp<int64_t>(
      left, 0, std::min(plan_saving(job), parse_bytes(config.memory.save_budget, "memory.save_budget")));
}

}  // namespace

int64_t common_experts(const ModelConfig& model) {
  const std::vector<int64_t> counts = model.expert_counts();
  return std::accumulate(counts.begin(), counts.end(), int64_t{0}, std::gcd<int64_t, int64_t>);
}

Mesh mesh_of(const RunConfig& config, int world) {
  return make_mesh(config.parallel, world,
                   {.experts = common_experts(config.model),
                    .heads = config.model.attention_heads,
                    .ffn = config.model.ffn_dim});
}

Job job_of(const RunConfig& config, const ModelConfig& model, const Mesh& mesh) {
  Job job;
  job.model = model;
  job.compute = config.precision == Precision::bf16 ? at::kBFloat16 : at::kFloat;
  job.accelerator = !names_host(config.device);
  job.isa = names_host(config.device) ? cpu_isa() : Isa::avx512_bf16;
  job.threads = config.threads > 0 ? config.threads : at::get_num_threads();
  job.mesh = mesh;
  job.memory = config.memory;
  job.expert_state = config.optim.expert_state;
  job.recompute = config.train.recompute;
  job.micro_batches = config.data.micro_batches;
  if (!config.train.freeze.empty()) job.frozen = frozen_parameters(shapes_of(model), config.train.freeze);
  return job;
}

BatchOptions batch_options(const RunConfig& config) {
  return {.seed = static_cast<uint64_t>(config.seed),
          .temperature = config.data.temperature,
          .batch_tokens = config.data.batch_tokens,
          .micro_batches = config.data.micro_batches,
          .pool_batches = config.data.pool_batches,
          .curriculum = config.data.curriculum,
          .threads = config.threads > 0 ? static_cast<int>(config.threads) : at::get_num_threads()};
}

void set_largest(Job& job, std::span<const PaddedShape> batches) {
  PaddedShape largest = batches.front();
  int64_t most = 0;  // bytes
  for (const PaddedShape& batch : batches) {
    job.batch = batch;
    const int64_t held = batches.size() == 1 ? 0 : plan_memory(job).device.total();
    if (held <= most) continue;
    most = held;
    largest = batch;
  }
  job.batch = largest;
}

TextShape text_shape(const RunConfig& config, const std::filesystem::path& folder) {
  Group alone;
  const RunFolder held(folder, alone);
  std::string trained_with;
  if (const std::optional<Checkpoint> checkpoint = RunFiles(folder, alone).latest())
    trained_with = state_of(*checkpoint).vocabulary_hash;
  std::optional<InitialModel> initial;
  if (!config.train.init.empty()) initial = find_initial_model(config.train.init);
  const std::unique_ptr<Data> data =
      open_inputs(config,
                  {.run = folder,
                   .initial = initial ? &initial->description.vocabulary : nullptr,
                   .trained_with = trained_with},
                  alone);
  return {.vocabulary = data->vocabulary.size(),
          .largest = BatchStream(*data->train, batch_options(config)).largest()};
}

int64_t vocabulary_rows(const RunConfig& config) {
  const std::string& named = config.vocabulary.model;
  if (!config.train.init.empty()) return config.model.vocabulary;
  if (named.empty() || !std::filesystem::exists(named)) return config.vocabulary.size;
  return extended(Vocabulary::load(named), config).size();
}

Budgets budgets_of(const RunConfig& config, int rank_here) {
  Budgets budgets = {.device = parse_bytes(config.memory.device_budget, "memory.device_budget"),
                     .host = parse_bytes(config.memory.host_budget, "memory.host_budget")};
  if (names_host(config.device) || devices_here(config.device) == 0) return budgets;
  const at::Device device = device_of_rank(config.device, rank_here, rank_here + 1);
  if (budgets.device == 0) budgets.device = free_memory_of(device);
  if (budgets.device > 0) budgets.device = std::max<int64_t>(budgets.device - workspaces_of(device), 1);
  return budgets;
}

SettledMemory settle_memory(const RunConfig& config, Job job, BatchStream& stream,
                            const std::filesystem::path& folder, const Group& ranks) {
  Budgets budgets = budgets_of(config, ranks.rank_here());
  MemoryConfig memory = config.memory;
  job.memory_case = MemoryCase::worst;
  const bool chooses = memory.uses(Tier::automatic);
  set_largest(job, stream.largest());
  if (chooses) {
    if (budgets.host == 0 && job.accelerator) budgets.host = machine_memory() / ranks.ranks_here();
    const std::optional<MemoryConfig> placed = place(job, budgets);
    if (!placed) {
      throw UserError("no placement of what is \"auto\" (memory.*) fits {} on the device{}: {}",
                      human_bytes(budgets.device),
                      budgets.host == 0 ? "" : fmt::format(" and {} on the host", human_bytes(budgets.host)),
                      "lower data.batch_tokens, set train.recompute, or raise the budgets; `chorus plan` "
                      "shows what it takes");
    }
    memory = *placed;
    log_info("memory: parameters on {}, gradients on {}, optimizer on {}, activations on {}",
             name_of(memory.parameters), name_of(memory.gradients), name_of(memory.optimizer),
             name_of(memory.activations));
  } else if (!config.memory.device_budget.empty()) {
    const Holdings held = plan_memory(job).device;
    if (!fits({.device = held, .host = {}, .nvme = {}}, budgets)) {
      const auto settings = remedies(job, budgets);
      throw UserError(
          "this run may hold {} on the device ({}), which with a margin of {:.0f} % is beyond "
          "memory.device_budget = \"{}\": {}",
          human_bytes(held.total()), text_of(held), 100 * (kMargin - 1), config.memory.device_budget,
          settings ? fmt::format("it fits with --set {}", fmt::join(*settings, " --set "))
                   : "lower data.batch_tokens, or take a smaller model");
    }
  }
  job.memory = memory;
  SettledMemory settled = {.tiers = memory, .typical = {}, .most = plan_memory(job)};
  job.memory_case = MemoryCase::typical;
  settled.typical = plan_memory(job);
  check_machine(config, settled.typical);
  settled.save_budget = save_budget(config, job, settled, ranks);
  for (MemoryPlan* plan : {&settled.typical, &settled.most})
    plan->host[Purpose::buffers] += settled.save_budget;
  if (memory.folder.empty()) settled.tiers.folder = (folder / "scratch").string();
  return settled;
}

void write_plan(const SettledMemory& memory, const std::filesystem::path& run) {
  const auto tiers = [](const MemoryPlan& plan) {
    return nlohmann::json{
        {"device", to_json(plan.device)}, {"host", to_json(plan.host)}, {"nvme", to_json(plan.nvme)}};
  };
  const nlohmann::json json = {{"typical", tiers(memory.typical)}, {"most", tiers(memory.most)}};
  write_file_atomically(run / "plan.json", json.dump(2) + "\n");
}

}  // namespace chorus::inline train
