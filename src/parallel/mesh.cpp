#include "parallel/mesh.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline parallel {

namespace {

std::vector<int> ranks_where(const Mesh& mesh, const auto& condition) {
  std::vector<int> ranks;
  for (int r = 0; r < mesh.world; ++r) {
    if (condition(r)) ranks.push_back(r);
  }
  return ranks;
}

/// Refuses `value` unless works(value); names those of 1 .. most that do.
void require(const char* option, int64_t value, int64_t most, const std::string& with, const char* why,
             const auto& works) {
  std::vector<int64_t> possible;
  for (int64_t n = 1; n <= most; ++n) {
    if (works(n)) possible.push_back(n);
  }
  if (std::ranges::find(possible, value) != possible.end()) return;
  throw UserError("parallel.{} = {} does not go with {}: {}, as {} does", option, value, with, why,
                  fmt::join(possible, " or "));
}

}  // namespace

void describe(Schema& schema, ParallelConfig& config) {
  schema.section("parallel", "how the run is spread over the processes that mpirun or srun starts");
  schema.add("ep", config.ep,
             {.help = "processes over which the experts of each layer are spread; divides their number and "
                      "that of the processes",
              .min = 1});
  schema.add("etp", config.etp,
             {.help = "processes over which each expert is cut; ep times etp divides the number of processes",
              .min = 1});
  schema.add("tp", config.tp,
             {.help = "processes over which attention, dense feed-forward layers and vocabulary are cut; "
                      "divides the attention heads and the number of processes",
              .min = 1});
  schema.add(
      "zero", config.zero,
      {.help = "ZeRO stage: 1 optimizer state in parts, 2 gradients too, 3 weights too", .min = 0, .max = 3});
  schema.add("exchange_chunks", config.exchange_chunks,
             {.help = "chunks of a micro-batch's tokens: one is exchanged while experts compute another",
              .min = 1,
              .max = 1024});
  schema.add("timeout", config.timeout,
             {.help = "seconds after which a process that waits for others gives up, and names them",
              .min = 1,
              .max = 1e9});
}

Mesh make_mesh(const ParallelConfig& config, int world, const Divisible& model) {
  const std::string processes = counted(world, "process", "processes");
  require("tp", config.tp, world,
          fmt::format("{}, {} and feed-forward networks of width {}", processes,
                      counted(model.heads, "attention head"), model.ffn),
          "it must divide the first two, and the networks be wide enough",
          [&](int64_t n) { return world % n == 0 && model.heads % n == 0 && n <= model.ffn; });
  require("ep", config.ep, world, fmt::format("{} and {}", processes, counted(model.experts, "expert")),
          "it must divide both", [&](int64_t n) {
            return world % n == 0 && (model.experts == 0 ? n == 1 : model.experts % n == 0);
          });
  require("etp", config.etp, world,
          fmt::format("{}, parallel.ep = {} and experts of width {}", processes, config.ep, model.ffn),
          "ep times etp must divide the processes, and an expert be wide enough", [&](int64_t n) {
            return world % (config.ep * n) == 0 && (model.experts == 0 ? n == 1 : n <= model.ffn);
          });
  return {.world = world,
          .tp = static_cast<int>(config.tp),
          .ep = static_cast<int>(config.ep),
          .etp = static_cast<int>(config.etp),
          .zero = static_cast<int>(config.zero),
          .exchange_chunks = config.exchange_chunks};
}

std::vector<std::string> summary(const Mesh& mesh, int64_t experts) {
  if (mesh.world == 1) return {};
  std::vector<std::string> lines = {
      fmt::format("{} processes, ZeRO stage {}; {}", mesh.world, mesh.zero,
                  mesh.tp == 1 ? "each has micro-batches of its own"
                               : fmt::format("every {} share their micro-batches", mesh.tp))};
  const auto list = [&](const auto& condition) {
    return fmt::format("{}", fmt::join(ranks_where(mesh, condition), ", "));
  };
  for (int part = 0; part < mesh.tp && mesh.tp > 1; ++part) {
    lines.push_back(fmt::format("part {} of {} of the dense layers: rank {}", part + 1, mesh.tp,
                                list([&](int r) { return mesh.tp_index(r) == part; })));
  }
  for (int part = 0; part < mesh.ep * mesh.etp && mesh.ep * mesh.etp > 1; ++part) {
    const int64_t each = experts / mesh.ep, first = part / mesh.etp * each;
    const std::string cut =
        mesh.etp == 1 ? "" : fmt::format("part {} of {} of ", part % mesh.etp + 1, mesh.etp);
    lines.push_back(
        fmt::format("{}experts {} to {} of each layer: rank {}", cut, first, first + each - 1,
                    list([&](int r) { return mesh.ep_index(r) * mesh.etp + mesh.etp_index(r) == part; })));
  }
  return lines;
}

Stretch part_of(int64_t n, int index, int parts) {
  const int64_t first = n * index / parts;
  return {.first = first, .count = n * (index + 1) / parts - first};
}

Parallel::Parallel(Group& world, const Mesh& mesh) : place_{.mesh = mesh, .rank = world.rank()} {
  const int self = world.rank();
  // The ranks that stand where this one does by all of these.
  const auto alike = [&](const char* name, auto... index) {
    return world.subset(ranks_where(mesh, [&](int r) { return ((index(r) == index(self)) && ...); }), name);
  };
  const auto tp_index = [&](int r) { return mesh.tp_index(r); };
  const auto dp_index = [&](int r) { return mesh.dp_index(r); };
  const auto etp_index = [&](int r) { return mesh.etp_index(r); };
  const auto ep_index = [&](int r) { return mesh.ep_index(r); };
  const auto edp_index = [&](int r) { return mesh.edp_index(r); };
  dp = alike("dp", tp_index);
  tp = alike("tp", dp_index);
  edp = alike("edp", ep_index, etp_index);
  ep = alike("ep", edp_index, etp_index);
  etp = alike("etp", edp_index, ep_index);
  if ((mesh.ep * mesh.etp) % mesh.tp != 0)
    lockstep = alike("lockstep", [&](int r) { return mesh.lockstep_index(r); });
}

bool Parallel::holds_everything() const {
  const Mesh& m = mesh();
  return m.world == 1 || (m.tp * m.ep * m.etp == 1 && m.zero < 3);
}

std::map<std::string, int64_t> Parallel::bytes_sent() const {
  return {{"dp", dp.bytes_sent()},
          {"edp", edp.bytes_sent()},
          {"tp", tp.bytes_sent()},
          {"ep", ep.bytes_sent()},
          {"etp", etp.bytes_sent()}};
}

}  // namespace chorus::inline parallel
