// The fastest layouts of a model. Times are a formula, and cheap; memory has to be gone through, which is
// costly. So layouts are taken in the order of the time that they would need with everything on the device,
// and of each only those placements are gone through that are fast enough, and whose weights alone leave
// room.
#include <algorithm>
#include <array>
#include <map>
#include <numeric>
#include <optional>
#include <tuple>
#include <utility>

#include "layout/buckets.h"
#include "layout/shapes.h"
#include "optim/compact_state.h"

#include "plan/internal/candidate.h"

namespace chorus::inline plan {

namespace {

constexpr std::array kTiers = {Tier::device, Tier::host, Tier::nvme};

/// Bytes of what stays, all the time, where it is placed.
struct Resident {
  int64_t on_device = 0, elsewhere = 0;
};
/// Parameters, gradients, optimizer.
using OfRole = std::array<Resident, 3>;

/// What a layout needs at least.
struct Needs {
  Holdings least;  // on the device, wherever the rest lies
  OfRole dense, experts;
};

/// Of weights, by the bytes of each.
using Elements = std::map<int64_t, int64_t>;

using Timed = std::pair<double, MemoryConfig>;

class Search {
 public:
  Search(const Job& job, const Cluster& cluster, size_t most)
      : job_(job),
        cluster_(cluster),
        cost_(cost_of(job)),
        catalogue_(shapes_of(job.model)),
        placements_(all_placements(job.model.moe.experts > 0)),
        most_(most) {}

  std::vector<Candidate> run() {
    std::vector<std::pair<double, Job>> layouts = all_layouts();
    std::ranges::stable_sort(layouts, {}, [](const auto& layout) { return layout.first; });
    for (auto& [least, layout] : layouts) {
      if (!is_wanted(least)) break;
      if (place(layout)) add(layout);
    }
    return std::move(found_);
  }

 private:
  [[nodiscard]] double seconds(const Job& layout) const {
    return plan_time(layout, *cluster_.machine, cost_).total();
  }
  [[nodiscard]] bool is_wanted(double time) const {
    return found_.size() < most_ || time < found_.back().time->total();
  }

  void add(const Job& layout) {
    Candidate c = evaluate("", layout, cluster_);
    const auto slower = [&](const Candidate& other) { return other.time->total() > c.time->total(); };
    found_.insert(std::ranges::find_if(found_, slower), std::move(c));
    if (found_.size() > most_) found_.pop_back();
  }

  /// Returns all layouts, with everything on the device, and their seconds.
  [[nodiscard]] std::vector<std::pair<double, Job>> all_layouts() const {
    std::vector<std::pair<double, Job>> layouts;
    Job layout = job_;
    layout.memory = {};
    layout.memory_case = MemoryCase::worst;
    for (const Mesh& mesh : all_meshes()) {
      layout.mesh = mesh;
      for (const bool recompute : {false, true}) {
        layout.recompute = recompute;
        layouts.emplace_back(seconds(layout), layout);
      }
    }
    return layouts;
  }

  /// Returns all meshes that make_mesh() would make.
  [[nodiscard]] std::vector<Mesh> all_meshes() const {
    const std::vector<int64_t> counts = job_.model.expert_counts();
    const int64_t experts =
        std::accumulate(counts.begin(), counts.end(), int64_t{0}, std::gcd<int64_t, int64_t>);
    const int world = cluster_.world;
    const auto works = [&](const Mesh& m) {
      if (job_.model.attention_heads % m.tp != 0) return false;
      if (experts == 0) return m.ep * m.etp == 1;
      return experts % m.ep == 0 && world / m.ep % m.etp == 0 && m.etp <= job_.model.ffn_dim;
    };
    std::vector<Mesh> meshes;
    Mesh mesh = {.world = world, .exchange_chunks = job_.mesh.exchange_chunks};
    const std::vector<int> parts = divisors(world);
    for (const int tp : parts) {
      for (const int ep : parts) {
        for (const int etp : parts) {
          mesh.tp = tp, mesh.ep = ep, mesh.etp = etp;
          if (!works(mesh)) continue;
          for (mesh.zero = 0; mesh.zero <= 3; ++mesh.zero) meshes.push_back(mesh);
        }
      }
    }
    return meshes;
  }

  /// Returns all placements of parameters, gradients, optimizer and activations, experts by themselves.
  static std::vector<MemoryConfig> all_placements(bool sparse) {
    std::vector<MemoryConfig> placements;
    const int dense = 3 * 3 * 3, experts = sparse ? dense : 1;
    for (int number = 0; number < 3 * dense * experts; ++number) {
      int rest = number;
      const auto next = [&] { return kTiers.at(std::exchange(rest, rest / 3) % 3); };
      MemoryConfig m;
      m.activations = next(), m.parameters = next(), m.gradients = next(), m.optimizer = next();
      const auto apart = [&](Tier all) {
        const Tier tier = next();
        return tier == all ? std::nullopt : std::optional(tier);
      };
      if (sparse) {
        m.expert_parameters = apart(m.parameters);
        m.expert_gradients = apart(m.gradients);
        m.expert_optimizer = apart(m.optimizer);
      }
      placements.push_back(m);
    }
    return placements;
  }

  /// Puts the fastest placement that fits and is wanted into the layout; false where there is none.
  bool place(Job& layout) {
    const Needs needs = needs_of(layout);
    std::vector<Timed> placements;
    for (const MemoryConfig& memory : placements_) {
      if (!layout.recompute && memory.activations != Tier::device) continue;
      if (!may_fit(needs, memory)) continue;
      layout.memory = memory;
      const double time = seconds(layout);
      if (is_wanted(time)) placements.emplace_back(time, memory);
    }
    std::ranges::stable_sort(placements, {}, &Timed::first);
    for (const auto& [time, memory] : placements) {
      layout.memory = memory;
      if (fits(plan_memory(layout), cluster_.budgets)) return true;
    }
    return false;
  }

  [[nodiscard]] Needs needs_of(const Job& layout) {
    const Mesh& mesh = layout.mesh;
    Needs needs = {.least = least_of(layout), .dense = {}, .experts = {}};
    const auto add = [&](OfRole& role, const Elements& elements, int sharing, StateForm form) {
      for (const auto& [bytes, count] : elements) {
        const int64_t part = count / sharing, kept = mesh.zero >= 1 ? part : count;
        const int64_t rows = bytes == 4 ? 2 : 3;
        const int64_t state = packed_bytes(form, rows, kept);
        auto& [parameters, gradients, optimizer] = role;
        parameters.on_device += (mesh.zero >= 3 ? part : count) * bytes;
        parameters.elsewhere += kept * bytes;
        gradients.on_device += (mesh.zero >= 2 ? part : count) * 4;
        gradients.elsewhere += kept * 4;
        optimizer.on_device += state;
        optimizer.elsewhere += state;
      }
    };
    add(needs.dense, elements_of(Role::dense, mesh), mesh.dp(), StateForm::fp32);
    add(needs.experts, elements_of(Role::expert, mesh), mesh.edp(), layout.expert_state);
    return needs;
  }

  /// Returns the elements of a rank, whatever its stage of ZeRO.
  const Elements& elements_of(Role role, Mesh mesh) {
    if (role == Role::dense) mesh.ep = mesh.etp = 1;
    if (role == Role::expert) mesh.tp = 1;
    Elements& elements = elements_[{role, mesh.tp, mesh.ep, mesh.etp}];
    if (!elements.empty()) return elements;
    for (const Bucket& bucket : plan_buckets(catalogue_, {.mesh = mesh}, job_.compute)) {
      if ((bucket.role == Role::expert) == (role == Role::expert))
        elements[static_cast<int64_t>(c10::elementSize(bucket.type))] += bucket.elements;
    }
    return elements;
  }

  /// What is on the device, with everything elsewhere, when that is most; of all stages of ZeRO.
  const Holdings& least_of(Job layout) {
    const Mesh& mesh = layout.mesh;
    std::optional<Holdings>& least = least_[{mesh.tp, mesh.ep, mesh.etp, layout.recompute}];
    if (least) return *least;
    layout.mesh.zero = 0;
    layout.memory = {.parameters = Tier::host, .gradients = Tier::host, .optimizer = Tier::host};
    if (layout.recompute) layout.memory.activations = Tier::host;
    return least.emplace(plan_memory(layout).device);
  }

  /// False where what stays on the device is too much already, together with what is there while blocks run.
  [[nodiscard]] bool may_fit(const Needs& needs, const MemoryConfig& m) const {
    const Holdings& least = needs.least;
    std::array<int64_t, kTiers.size()> held = {least[Purpose::activations] + least[Purpose::buffers]};
    const auto add = [&](size_t what, Tier dense, std::optional<Tier> experts, int64_t in_use) {
      const auto put = [&](const Resident& resident, Tier tier) {
        held.at(static_cast<size_t>(tier)) += tier == Tier::device ? resident.on_device : resident.elsewhere;
      };
      put(needs.dense.at(what), dense);
      put(needs.experts.at(what), experts.value_or(dense));
      if (dense != Tier::device && experts.value_or(dense) != Tier::device) held.front() += in_use;
    };
    add(0, m.parameters, m.expert_parameters, least[Purpose::parameters]);
    add(1, m.gradients, m.expert_gradients, least[Purpose::gradients]);
    add(2, m.optimizer, m.expert_optimizer, 0);
    const Budgets& b = cluster_.budgets;
    const std::array budgets = {b.device, b.host, b.nvme};
    for (size_t tier = 0; tier < held.size(); ++tier) {
      const auto budget = static_cast<double>(budgets.at(tier));
      if (budget > 0 && kMargin * static_cast<double>(held.at(tier)) > budget) return false;
    }
    return true;
  }

  const Job& job_;
  const Cluster& cluster_;
  ModelCost cost_;
  Catalogue catalogue_;
  std::vector<MemoryConfig> placements_;
  std::map<std::tuple<Role, int, int, int>, Elements> elements_;              // by tp, ep and etp
  std::map<std::tuple<int, int, int, bool>, std::optional<Holdings>> least_;  // and recomputation
  size_t most_;
  std::vector<Candidate> found_;
};

}  // namespace

std::vector<Candidate> search_layouts(const Job& job, const Cluster& cluster, size_t most) {
  return Search(job, cluster, most).run();
}

}  // namespace chorus::inline plan
