#include "chorus/parallel/mesh.h"

#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "chorus/base/error.h"

namespace chorus {

namespace {

std::vector<int> ranks_where(const Mesh& mesh, const auto& condition) {
  std::vector<int> ranks;
  for (int r = 0; r < mesh.world; ++r) {
    if (condition(r)) ranks.push_back(r);
  }
  return ranks;
}

}  // namespace

void describe(Schema& schema, ParallelConfig& config) {
  schema.section("parallel", "how the run is spread over the processes that mpirun or srun starts");
  schema.add("ep", config.ep,
             {.help = "processes over which the experts of each layer are spread; divides their number and "
                      "that of the processes",
              .min = 1});
  schema.add(
      "zero", config.zero,
      {.help = "ZeRO stage: 1 optimizer state in parts, 2 gradients too, 3 weights too", .min = 0, .max = 3});
  schema.add(
      "timeout", config.timeout,
      {.help = "seconds after which a process that waits for others gives up, and names them", .min = 1});
}

Mesh make_mesh(const ParallelConfig& config, int world, int64_t experts) {
  std::vector<int64_t> possible;
  for (int64_t ep = 1; ep <= std::max<int64_t>(experts, 1); ++ep) {
    if (world % ep == 0 && (experts == 0 ? ep == 1 : experts % ep == 0)) possible.push_back(ep);
  }
  if (std::ranges::find(possible, config.ep) == possible.end()) {
    throw UserError(
        "parallel.ep = {} does not go with {} processes and {} experts: it must divide both, as {} does",
        config.ep, world, experts, fmt::join(possible, " or "));
  }
  return {.world = world, .ep = static_cast<int>(config.ep), .zero = static_cast<int>(config.zero)};
}

std::vector<std::string> describe(const Mesh& mesh, int64_t experts) {
  if (mesh.world == 1) return {};
  std::vector<std::string> lines = {
      fmt::format("{} processes, each with micro-batches of its own; ZeRO stage {}", mesh.world, mesh.zero)};
  for (int part = 0; part < mesh.ep && mesh.ep > 1; ++part) {
    const int64_t each = experts / mesh.ep, first = each * part;
    lines.push_back(
        fmt::format("experts {} to {} of each layer: rank {}", first, first + each - 1,
                    fmt::join(ranks_where(mesh, [&](int r) { return mesh.ep_index(r) == part; }), ", ")));
  }
  return lines;
}

Parallel::Parallel(Group& world, const Mesh& mesh) : mesh_(mesh), rank_(world.rank()) {
  const auto subset = [&](const auto& condition, const char* name) {
    return world.subset(ranks_where(mesh, condition), name);
  };
  dp = subset([](int) { return true; }, "dp");
  edp = subset([&](int r) { return mesh.ep_index(r) == mesh.ep_index(rank_); }, "edp");
  ep = subset([&](int r) { return mesh.edp_index(r) == mesh.edp_index(rank_); }, "ep");
}

}  // namespace chorus
