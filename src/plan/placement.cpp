#include "plan/placement.h"

#include <array>
#include <functional>
#include <utility>

#include <fmt/format.h>

namespace chorus::inline plan {

namespace {

/// The general tiers, in the order in which they leave the device; an expert's where it is apart.
struct Movable {
  const char* name;
  Tier MemoryConfig::*tier;
  std::optional<Tier> MemoryConfig::*of_experts;  // null: there is none
};
constexpr Movable kMovables[] = {
    {"optimizer", &MemoryConfig::optimizer, &MemoryConfig::expert_optimizer},
    {"gradients", &MemoryConfig::gradients, &MemoryConfig::expert_gradients},
    {"parameters", &MemoryConfig::parameters, &MemoryConfig::expert_parameters},
    {"activations", &MemoryConfig::activations, nullptr},
};

/// What may be moved, as functions that do.
std::vector<std::function<void(MemoryConfig&, Tier)>> moves_of(const MemoryConfig& wanted) {
  std::vector<std::function<void(MemoryConfig&, Tier)>> moves;
  for (const Movable& movable : kMovables) {
    if (movable.of_experts && wanted.*movable.of_experts == Tier::automatic)
      moves.emplace_back([movable](MemoryConfig& m, Tier tier) { m.*movable.of_experts = tier; });
    if (wanted.*movable.tier == Tier::automatic)
      moves.emplace_back([movable](MemoryConfig& m, Tier tier) { m.*movable.tier = tier; });
  }
  return moves;
}

bool within(const Holdings& held, int64_t budget) {
  return budget == 0 || kMargin * static_cast<double>(held.total()) <= static_cast<double>(budget);
}

}  // namespace

const char* name_of(Tier tier) {
  constexpr std::array kNames = {"device", "host", "nvme", "auto"};
  return kNames.at(static_cast<size_t>(tier));
}

bool fits(const MemoryPlan& plan, const Budgets& budgets) {
  return within(plan.device, budgets.device) && within(plan.host, budgets.host) &&
         within(plan.nvme, budgets.nvme);
}

std::optional<MemoryConfig> place(const Job& job, const Budgets& budgets) {
  Job placed = job;
  placed.memory_case = MemoryCase::worst;
  // Only the inputs that recomputation keeps can leave.
  if (!job.recompute && job.memory.activations == Tier::automatic) placed.memory.activations = Tier::device;
  const auto moves = moves_of(placed.memory);
  for (const auto& move : moves) move(placed.memory, Tier::device);
  size_t off_device = 0, off_host = 0;  // how many of them
  MemoryPlan plan = plan_memory(placed);
  while (!within(plan.device, budgets.device) && off_device < moves.size()) {
    moves[off_device++](placed.memory, Tier::host);
    plan = plan_memory(placed);
  }
  while (!within(plan.host, budgets.host) && off_host < off_device) {
    moves[off_host++](placed.memory, Tier::nvme);
    plan = plan_memory(placed);
  }
  if (!fits(plan, budgets)) return std::nullopt;
  return placed.memory;
}

std::optional<std::vector<std::string>> remedies(const Job& job, const Budgets& budgets) {
  Job free = job;
  for (const Movable& movable : kMovables) {
    free.memory.*movable.tier = Tier::automatic;
    if (movable.of_experts) (free.memory.*movable.of_experts).reset();
  }
  std::optional<MemoryConfig> found = place(free, budgets);
  std::vector<std::string> settings;
  if (!found && !job.recompute) {
    free.recompute = true;
    found = place(free, budgets);
    settings.emplace_back("train.recompute=true");
  }
  if (!found) return std::nullopt;
  for (const Movable& movable : kMovables) {
    const Tier tier = (*found).*movable.tier;
    if (tier != job.memory.*movable.tier)
      settings.push_back(fmt::format("memory.{}={}", movable.name, name_of(tier)));
    if (movable.of_experts && job.memory.*movable.of_experts)
      settings.push_back(fmt::format("memory.expert_{}=same", movable.name));
  }
  return settings;
}

}  // namespace chorus::inline plan
