#include "app/goodput.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace chorus::inline app {

namespace {

constexpr std::array<int64_t, 7> kIntervals = {1, 10, 30, 100, 300, 1000, 3000};  // updates

struct SaveTimes {
  double held = 0, written = 0;  // seconds, as Failures has them
};

/// Returns the seconds of a save. Each rank copies its share of weights and optimizer state, as far as
/// memory.save_budget goes, and writes it; tiers and replicas do not change what that is.
SaveTimes times_of_save(const Candidate& c, const Cluster& cluster) {
  constexpr double kBytesPerParameter = 12;  // fp32 masters and two moments
  const double bytes = kBytesPerParameter * static_cast<double>(c.parameters) / cluster.world;
  const double copied =
      std::min(bytes, static_cast<double>(parse_bytes(c.job.memory.save_budget, "memory.save_budget")));
  return {.held = 2 * copied / cluster.machine->host_memory + (bytes - copied) / cluster.machine->disk_write,
          .written = copied / cluster.machine->disk_write};
}

}  // namespace

void add_goodput_arguments(CLI::App& command, GoodputArguments& a) {
  CLI::Option* const failures =
      command
          .add_option(
              "--failures", a.failures,
              "mean time between two failures of a host, such as 3h: adds what share of the time trains, by "
              "number of hosts and save interval (needs --machine)")
          ->type_name("TIME");
  command
      .add_option("--save", a.save,
                  "--failures: how long a save holds training up (default: by the machine's rates)")
      ->type_name("TIME")
      ->needs(failures);
  command.add_option("--restart", a.restart, "--failures: from a failure until training goes on")
      ->type_name("TIME")
      ->capture_default_str()
      ->needs(failures);
}

std::vector<Failures> failures_of(const GoodputArguments& a, const Candidate& c, const Cluster& cluster) {
  if (a.failures.empty()) return {};
  if (!c.time) throw UserError("--failures weighs times: give --machine, a file of `chorus bench machine`");
  const int64_t hosts =
      (cluster.world + cluster.machine->ranks_per_host - 1) / cluster.machine->ranks_per_host;
  const SaveTimes times = times_of_save(c, cluster);
  const Failures planned = {.between = parse_time(a.failures, "--failures"),
                            .update = c.time->total(),
                            .save = a.save.empty() ? times.held : parse_time(a.save, "--save"),
                            .write = times.written,
                            .restart = parse_time(a.restart, "--restart"),
                            .hosts = hosts};
  std::vector<Failures> list(4, planned);
  for (size_t i = 1; i < list.size(); ++i) list[i].hosts = 4 * list[i - 1].hosts;
  return list;
}

void print_goodput(const std::vector<Failures>& list) {
  if (list.empty()) return;
  const Failures& f = list.front();
  fmt::print(
      "\nshare of the time that trains, where a host fails every {}; {:.3g} s per update, {:.3g} s per save, "
      "on disk {:.3g} s later, {} per restart\n",
      human_seconds(f.between), f.update, f.save, f.write, human_seconds(f.restart));
  fmt::print("hosts   saved after");
  for (const int64_t interval : kIntervals) fmt::print("{:>8}", interval);
  fmt::print(" updates; at best\n");
  for (const Failures& some : list) {
    fmt::print("{:<19}", some.hosts);
    for (const int64_t interval : kIntervals) fmt::print("{:>6.1f} %", 100 * goodput(some, interval));
    const int64_t best = best_interval(some);
    fmt::print("{:>16.1f} %, train.checkpoint_every = {} ({})\n", 100 * goodput(some, best), best,
               human_seconds(static_cast<double>(best) * some.update));
  }
}

nlohmann::json to_json(const Failures& f) {
  const int64_t best = best_interval(f);
  nlohmann::json json = {{"hosts", f.hosts},           {"seconds_between_failures", f.between},
                         {"update_seconds", f.update}, {"save_seconds", f.save},
                         {"write_seconds", f.write},   {"restart_seconds", f.restart},
                         {"best_interval", best},      {"best_goodput", goodput(f, best)}};
  for (const int64_t interval : kIntervals)
    json["goodput"].push_back({{"interval", interval}, {"share", goodput(f, interval)}});
  return json;
}

}  // namespace chorus::inline app
