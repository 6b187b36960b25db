#include "plan/forms.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "layout/cost.h"

#include "plan/internal/candidate.h"

namespace chorus::inline plan {

namespace {

struct Form {
  const char* name;
  bool copies = false, zero = false, tensor = false;     // D, Z, M
  Tier state = Tier::device, parameters = Tier::device;  // state: of optimizer and gradients
};

constexpr Form kForms[] = {
    {.name = "E"},
    {.name = "E+D", .copies = true},
    {.name = "E+Z", .zero = true},
    {.name = "E+D+M", .copies = true, .tensor = true},
    {.name = "E+D+Z", .copies = true, .zero = true},
    {.name = "E+Z+M", .zero = true, .tensor = true},
    {.name = "E+Z-Off+M", .zero = true, .tensor = true, .state = Tier::host},
    {.name = "E+Z-NVMe+M", .zero = true, .tensor = true, .state = Tier::nvme, .parameters = Tier::nvme},
};

/// All meshes of a form, those with most ranks of ep first: they hold most.
std::vector<Mesh> meshes_of(const Form& form, const Job& job, int world) {
  std::vector<Mesh> meshes;
  for (const int ep : divisors(world)) {
    if (form.copies ? ep == 1 || ep == world : ep != world) continue;
    for (const int tp : divisors(world)) {
      if (form.tensor ? tp == 1 || job.model.attention_heads % tp != 0 : tp > 1) continue;
      for (int zero = form.zero ? 1 : 0; zero <= (form.zero ? 3 : 0); ++zero) {
        meshes.push_back(
            {.world = world, .tp = tp, .ep = ep, .zero = zero, .exchange_chunks = job.mesh.exchange_chunks});
      }
    }
  }
  std::ranges::stable_sort(meshes, std::greater(), &Mesh::ep);
  return meshes;
}

/// The largest n of [low, most] for which fits(n), to within 1/64, given that `low` fits.
int64_t largest(int64_t low, int64_t most, const std::function<bool(int64_t)>& fits) {
  int64_t high = low;
  while (high < most) {
    high = std::min(most, 2 * high);
    if (!fits(high)) break;
    low = high;
  }
  while (high - low > std::max<int64_t>(1, low / 64)) {
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

Candidate largest_model(const Form& form, const Job& job, const Cluster& cluster) {
  std::optional<Candidate> best;
  Job sized = job;
  sized.memory_case = MemoryCase::worst;
  sized.memory = {.parameters = form.parameters, .gradients = form.state, .optimizer = form.state};
  for (const Mesh& mesh : meshes_of(form, job, cluster.world)) {
    sized.mesh = mesh;
    const auto with = [&](int64_t experts_a_rank) -> const Job& {
      sized.model.moe.experts = experts_a_rank * mesh.ep;
      return sized;
    };
    const auto holds = [&](int64_t n) { return fits(plan_memory(with(n)), cluster.budgets); };
    const int64_t most = kMostExperts / mesh.ep;
    // No fewer than the best so far.
    const int64_t least =
        std::max<int64_t>(1, best ? (best->job.model.moe.experts + mesh.ep - 1) / mesh.ep : 1);
    if (least > most || !holds(least)) {
      if (!best) best = {.name = form.name, .job = with(1), .memory = plan_memory(with(1))};
      continue;
    }
    Candidate found = evaluate(form.name, with(largest(least, most, holds)), cluster);
    const bool better =
        best->parameters < found.parameters ||
        (best->parameters == found.parameters && found.tokens_per_second() > best->tokens_per_second());
    if (better) best = std::move(found);
  }
  return best.value_or(Candidate());
}

}  // namespace

Candidate evaluate(std::string name, const Job& job, const Cluster& cluster) {
  const ModelCost cost = cost_of(job);
  Candidate c = {
      .name = std::move(name), .job = job, .parameters = cost.parameters.total(), .memory = plan_memory(job)};
  if (cluster.machine) c.time = plan_time(job, *cluster.machine, cost);
  return c;
}

std::vector<int> divisors(int n) {
  std::vector<int> result;
  for (int i = 1; i <= n; ++i) {
    if (n % i == 0) result.push_back(i);
  }
  return result;
}

std::vector<std::string> Candidate::settings() const {
  std::vector<std::string> list;
  const auto add = [&](const char* key, int64_t value, int64_t standard) {
    if (value != standard) list.push_back(fmt::format("{}={}", key, value));
  };
  add("parallel.ep", job.mesh.ep, 1);
  add("parallel.etp", job.mesh.etp, 1);
  add("parallel.tp", job.mesh.tp, 1);
  add("parallel.zero", job.mesh.zero, 0);
  add("parallel.exchange_chunks", job.mesh.exchange_chunks, 1);
  if (job.recompute) list.emplace_back("train.recompute=true");
  const MemoryConfig& m = job.memory;
  const auto place = [&](const char* key, Tier all, std::optional<Tier> experts) {
    if (all != Tier::device) list.push_back(fmt::format("memory.{}={}", key, name_of(all)));
    if (experts.value_or(all) != all)
      list.push_back(fmt::format("memory.expert_{}={}", key, name_of(*experts)));
  };
  place("parameters", m.parameters, m.expert_parameters);
  place("gradients", m.gradients, m.expert_gradients);
  place("optimizer", m.optimizer, m.expert_optimizer);
  place("activations", m.activations, std::nullopt);
  return list;
}

double Candidate::tokens_per_second() const {
  if (!time) return 0;
  return static_cast<double>(job.micro_batches * job.batch.target_tokens()) / time->total();
}

std::vector<Candidate> largest_models(const Job& job, const Cluster& cluster) {
  if (job.model.moe.experts == 0)
    throw UserError("moe.experts = 0: the forms are those of a sparse model; give it experts");
  if (cluster.budgets.device == 0)
    throw UserError("--forms asks for the largest model that fits: give --device-memory");
  std::vector<Candidate> results;
  for (const Form& form : kForms) {
    Candidate best = largest_model(form, job, cluster);
    if (!best.name.empty()) results.push_back(std::move(best));  // else a world that has no such form
  }
  return results;
}

}  // namespace chorus::inline plan
