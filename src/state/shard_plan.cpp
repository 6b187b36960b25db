#include "state/internal/shard_plan.h"

namespace chorus::inline state {

ShardPlan plan_shard(const Bucket& bucket, const MemoryConfig& memory, int zero, int sharers, int index,
                     StateForm expert_state) {
  const bool expert = bucket.role == Role::expert;
  const auto tier = [&](Tier all, std::optional<Tier> experts) {
    return expert ? experts.value_or(all) : all;
  };
  const int64_t part = bucket.elements / sharers;
  ShardPlan plan = {.elements = bucket.elements,
                    .own = part * index,
                    .own_end = part * (index + 1),
                    .sharers = sharers,
                    .values = tier(memory.parameters, memory.expert_parameters),
                    .gradients = tier(memory.gradients, memory.expert_gradients),
                    .state = tier(memory.optimizer, memory.expert_optimizer)};
  plan.begin = zero >= 1 ? plan.own : 0;
  plan.end = zero >= 1 ? plan.own_end : bucket.elements;
  plan.values_go = (zero >= 3 && plan.shared()) || plan.values != Tier::device;
  plan.gradients_go = (zero >= 2 && plan.shared()) || plan.gradients != Tier::device;
  plan.has_master = bucket.type == at::kBFloat16;
  if (expert && bucket.type != at::kDouble) plan.form = expert_state;
  return plan;
}

}  // namespace chorus::inline state
