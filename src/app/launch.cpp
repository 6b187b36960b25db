#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "app/train_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "io/places.h"
#include "io/run_layout.h"
#include "mpi/starter.h"
#include "train/job.h"

namespace chorus::inline app {

namespace {

constexpr double kGrace = 30;   // seconds in which all ends after an error was told
constexpr double kAnswer = 20;  // seconds in which a host has to start a process

struct LaunchArguments {
  TrainArguments train;
  int ranks = 0;
  std::string hosts, starter;
  int restarts = 3;
};

Starter starter_of(const LaunchArguments& a) {
  if (!a.starter.empty()) return a.starter == "srun" ? Starter::srun : Starter::mpirun;
  return std::getenv("SLURM_JOB_ID") ? Starter::srun : Starter::mpirun;
}

/// The most ranks, up to `most`, that the run can be laid out on. UserError where not even one can.
int ranks_that_fit(const RunConfig& config, int most) {
  for (int ranks = most;; --ranks) {
    try {
      mesh_of(config, ranks);
      return ranks;
    } catch (const UserError&) {
      if (ranks <= 1) throw;
    }
  }
}

/// All checkpoints of a run and its stages, those that are there always in the same order.
std::vector<std::filesystem::path> checkpoints_in(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> found = checkpoint_folders(folder);
  for (const std::string& name : names_in(folder))
    std::ranges::copy(checkpoint_folders(folder / name), std::back_inserter(found));
  return found;
}

std::string names_of(const std::vector<Host>& hosts) {
  std::vector<std::string> names;
  names.reserve(hosts.size());
  for (const Host& host : hosts) names.push_back(host.name);
  return join(names, ", ");
}

int run(const LaunchArguments& a) {
  const std::optional<RunConfig> config = read_config(a.train.config);
  if (!config) return 0;
  const Starter starter = starter_of(a);
  const std::vector<Host> hosts = parse_hosts(a.hosts, "--host");
  const int wanted = a.ranks > 0 ? a.ranks : slots_of(hosts);
  if (wanted == 0)
    throw UserError("give -n, the number of ranks, or --host with the hosts and how many each takes");
  if (!hosts.empty() && wanted > slots_of(hosts))
    throw UserError("-n {}: the hosts of --host take {}", wanted, slots_of(hosts));
  mesh_of(*config, wanted);
  std::vector<std::string> program = {std::filesystem::read_symlink("/proc/self/exe").string(), "train"};
  for (const std::string& word : a.train.words()) program.push_back(word);

  std::vector<Host> there = hosts;
  std::vector<std::filesystem::path> saved = checkpoints_in(a.train.run_folder());
  int ranks = wanted, in_vain = 0;  // restarts since the last checkpoint
  while (true) {
    const Outcome outcome = run_and_watch(start_line(starter, there, ranks, program), kGrace);
    if (outcome.signal != 0) return 128 + outcome.signal;
    if (outcome.code == 0 || outcome.code == kUserMistake || outcome.code == 128 + SIGINT ||
        outcome.code == 128 + SIGTERM)
      return outcome.code;
    std::vector<std::filesystem::path> now = checkpoints_in(a.train.run_folder());
    if (saved != now) in_vain = 0;
    saved = std::move(now);
    if (++in_vain > a.restarts) {
      throw Error("{} ended with exit code {}, {} in a row without a new checkpoint: see what it said above",
                  name_of(starter), outcome.code, counted(in_vain, "time"));
    }
    std::this_thread::sleep_for(std::chrono::seconds(1 << std::min(in_vain - 1, 5)));
    there = hosts_that_answer(starter, hosts, kAnswer);
    if (!hosts.empty() && there.empty()) throw Error("none of the hosts {} answers", names_of(hosts));
    ranks = ranks_that_fit(*config, hosts.empty() ? wanted : std::min(wanted, slots_of(there)));
    log_info("the run ended with exit code {}: restart {} of {} on {}{}", outcome.code, in_vain, a.restarts,
             counted(ranks, "rank"), hosts.empty() ? "" : fmt::format(" ({})", names_of(there)));
  }
}

}  // namespace

void add_launch(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "launch", "train on several ranks, and start again when one of them or a host is lost");
  auto a = std::make_shared<LaunchArguments>();
  add_train_arguments(*command, a->train);
  command->add_option("-n,--ranks", a->ranks, "processes (default: as many as the hosts take)")
      ->check(between(1, 1 << 20))
      ->type_name("N");
  command
      ->add_option("--host", a->hosts,
                   "hosts, and how many ranks each takes: a:4,b:4 (default: as mpirun or srun has it)")
      ->type_name("LIST");
  command
      ->add_option("--with", a->starter, "what starts ranks (default: srun in a job of Slurm, else mpirun)")
      ->check(CLI::IsMember({"mpirun", "srun"}));
  command
      ->add_option(
          "--restarts", a->restarts,
          "starts in a row that may fail without a new checkpoint; with hosts, on those that still answer")
      ->check(between(0, 1000))
      ->capture_default_str()
      ->type_name("N");
  command->callback([a] {
    if (const int code = run(*a)) throw ExitCode{code};
  });
}

}  // namespace chorus::inline app
