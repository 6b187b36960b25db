#include "chorus/plan/forms.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "chorus/base/error.h"
#include "chorus/model/cost.h"

namespace chorus {

namespace {

struct Form {
  const char* name;
  void (*set)(Job& job, int world, int host);  // host: ranks of one
};

constexpr Form kForms[] = {
    {"E", [](Job& j, int world, int) { j.mesh.ep = world; }},
    {"E+D", [](Job& j, int, int host) { j.mesh.ep = host; }},
    {"E+Z", [](Job& j, int world, int) { j.mesh.ep = world, j.mesh.zero = 2; }},
    {"E+D+M", [](Job& j, int, int host) { j.mesh.ep = host, j.mesh.tp = host; }},
    {"E+D+Z", [](Job& j, int, int host) { j.mesh.ep = host, j.mesh.zero = 3; }},
    {"E+Z+M", [](Job& j, int world, int host) { j.mesh.ep = world, j.mesh.tp = host, j.mesh.zero = 2; }},
    {"E+Z-Off+M",
     [](Job& j, int world, int host) {
       j.mesh.ep = world, j.mesh.tp = host, j.mesh.zero = 2;
       j.memory.optimizer = j.memory.gradients = Tier::host;
     }},
    {"E+Z-NVMe+M",
     [](Job& j, int world, int host) {
       j.mesh.ep = world, j.mesh.tp = host, j.mesh.zero = 2;
       j.memory.optimizer = j.memory.gradients = j.memory.parameters = Tier::nvme;
     }},
};

Candidate evaluate(std::string name, const Job& job, const Cluster& cluster) {
  Candidate c = {.name = std::move(name),
                 .job = job,
                 .parameters = cost_of(job.model, 1).parameters.total(),
                 .memory = plan_memory(job)};
  if (cluster.machine) c.time = plan_time(job, *cluster.machine);
  return c;
}

/// The largest n >= 0 for which fits(n), which no larger one does; asks about 2 log2 n times.
int64_t largest(const std::function<bool(int64_t)>& fits) {
  constexpr int64_t kMost = int64_t{1} << 20;
  int64_t low = 0, high = 1;
  while (high < kMost && fits(high)) low = std::exchange(high, high * 2);
  while (high - low > std::max<int64_t>(1, low / 64)) {  // to a part in 64
    const int64_t middle = low + (high - low) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

std::vector<int> divisors(int n) {
  std::vector<int> result;
  for (int i = 1; i <= n; ++i) {
    if (n % i == 0) result.push_back(i);
  }
  return result;
}

}  // namespace

std::vector<std::string> Candidate::settings() const {
  std::vector<std::string> list;
  const auto add = [&](const char* key, int64_t value, int64_t standard) {
    if (value != standard) list.push_back(fmt::format("{}={}", key, value));
  };
  add("parallel.ep", job.mesh.ep, 1);
  add("parallel.etp", job.mesh.etp, 1);
  add("parallel.tp", job.mesh.tp, 1);
  add("parallel.zero", job.mesh.zero, 0);
  if (job.recompute) list.emplace_back("train.recompute=true");
  const MemoryConfig standard;
  const auto place = [&](const char* key, Tier tier) {
    if (tier != Tier::device) list.push_back(fmt::format("memory.{}={}", key, name_of(tier)));
  };
  place("parameters", job.memory.parameters);
  place("gradients", job.memory.gradients);
  place("optimizer", job.memory.optimizer);
  place("activations", job.memory.activations);
  return list;
}

double Candidate::tokens_per_second() const {
  if (!time) return 0;
  const auto tokens =
      static_cast<double>(job.batch.rows * job.batch.target_length * job.micro_batches * job.mesh.dp());
  return tokens / time->total();
}

std::vector<Candidate> largest_models(const Job& job, const Cluster& cluster) {
  if (job.model.moe.experts == 0)
    throw UserError("moe.experts = 0: the forms are those of a sparse model; give it experts");
  std::vector<Candidate> results;
  const auto host = static_cast<int>(std::min<int64_t>(cluster.ranks_per_host, cluster.world));
  for (const Form& form : kForms) {
    Job base = job;
    base.mesh = {.world = cluster.world};
    base.memory = {};
    form.set(base, cluster.world, host);
    if (cluster.world % base.mesh.ep != 0 || cluster.world % base.mesh.tp != 0 ||
        base.model.attention_heads % base.mesh.tp != 0) {
      continue;  // a world that has no such form
    }
    const auto with = [&](int64_t experts_a_rank) {
      Job sized = base;
      sized.model.moe.experts = experts_a_rank * base.mesh.ep;
      return sized;
    };
    const int64_t experts = largest([&](int64_t n) { return fits(plan_memory(with(n)), cluster.budgets); });
    if (experts == 0) {
      results.push_back({.name = form.name, .job = with(1), .memory = plan_memory(with(1))});
    } else {
      results.push_back(evaluate(form.name, with(experts), cluster));
    }
  }
  return results;
}

std::vector<Candidate> search_layouts(const Job& job, const Cluster& cluster, size_t most) {
  std::vector<Candidate> found;
  const int64_t experts = job.model.moe.experts;
  for (const int tp : divisors(cluster.world)) {
    if (tp > cluster.ranks_per_host || job.model.attention_heads % tp != 0) continue;
    for (const int ep : divisors(cluster.world)) {
      if (experts == 0 ? ep > 1 : experts % ep != 0) continue;
      for (int zero = 0; zero <= 3; ++zero) {
        for (const bool recompute : {false, true}) {
          Job layout = job;
          layout.mesh = {.world = cluster.world, .tp = tp, .ep = ep, .zero = zero};
          layout.recompute = recompute;
          layout.memory = {.parameters = Tier::automatic,
                           .gradients = Tier::automatic,
                           .optimizer = Tier::automatic,
                           .activations = recompute ? Tier::automatic : Tier::device};
          const std::optional<MemoryConfig> memory = place(layout, cluster.budgets);
          if (!memory) continue;
          layout.memory = *memory;
          found.push_back(evaluate("", layout, cluster));
        }
      }
    }
  }
  std::ranges::stable_sort(found, std::greater(), &Candidate::tokens_per_second);
  if (found.size() > most) found.erase(found.begin() + static_cast<int64_t>(most), found.end());
  return found;
}

}  // namespace chorus
