// chorus plan: what a run takes, before it runs.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/goodput.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "corpus/vocabulary_training.h"
#include "data/vocabulary.h"
#include "layout/cost.h"
#include "plan/forms.h"
#include "train/job.h"
#include "train/stages.h"

namespace chorus::inline app {
namespace {

struct PlanArguments {
  ConfigArguments config;
  int64_t world = 1, length = 32;
  std::optional<int64_t> ranks_per_host;  // none: as the machine file says
  std::vector<double> skew;
  std::string run, stage, device_memory, host_memory, nvme, machine;
  GoodputArguments goodput;
  bool search = false, forms = false, json = false;
};

Cluster cluster_of(const PlanArguments& a, const RunConfig& config) {
  constexpr int64_t kRanksPerHost = 8;
  Cluster cluster = {.world = static_cast<int>(a.world), .budgets = budgets_of(config)};
  if (!a.machine.empty()) {
    cluster.machine = read_machine(a.machine);
    if (a.ranks_per_host) cluster.machine->ranks_per_host = *a.ranks_per_host;
  }
  const int64_t ranks_per_host =
      a.ranks_per_host.value_or(cluster.machine ? cluster.machine->ranks_per_host : kRanksPerHost);
  const auto share = [&](const std::string& text, const char* option) {
    return parse_bytes(text, option) / std::min(a.world, ranks_per_host);
  };
  if (!a.device_memory.empty()) cluster.budgets.device = parse_bytes(a.device_memory, "--device-memory");
  if (!a.host_memory.empty()) cluster.budgets.host = share(a.host_memory, "--host-memory");
  if (!a.nvme.empty()) cluster.budgets.nvme = share(a.nvme, "--nvme");
  return cluster;
}

nlohmann::json to_json(const Candidate& c) {
  nlohmann::json json = {{"settings", c.settings()},
                         {"experts", c.job.model.moe.experts},
                         {"parameters", c.parameters},
                         {"bytes",
                          {{"device", to_json(c.memory.device)},
                           {"host", to_json(c.memory.host)},
                           {"nvme", to_json(c.memory.nvme)}}}};
  if (!c.name.empty()) json["form"] = c.name;
  if (c.time) {
    json["seconds"] = {{"compute", c.time->compute},     {"exchange", c.time->exchange},
                       {"tensor", c.time->tensor},       {"movement", c.time->movement},
                       {"optimizer", c.time->optimizer}, {"total", c.time->total()}};
    json["tokens_per_second"] = c.tokens_per_second();
  }
  return json;
}

std::string bytes(int64_t n) {
  return n == 0 ? "-" : human_bytes(static_cast<uint64_t>(n));
}

/// What a run takes, and may take: all routing can make of it.
struct Foreseen {
  Candidate typical;
  MemoryPlan most;
};

void print_memory(const Foreseen& foreseen, const Budgets& budgets) {
  const auto line = [](std::string_view name, int64_t device, int64_t host, int64_t nvme,
                       std::string_view more = "") {
    fmt::print("{:<18}{:>12}{:>12}{:>12}{}\n", name, bytes(device), bytes(host), bytes(nvme), more);
  };
  const auto totals = [&](std::string_view name, const MemoryPlan& plan) {
    line(name, plan.device.total(), plan.host.total(), plan.nvme.total());
  };
  const MemoryPlan& plan = foreseen.typical.memory;
  fmt::print("{:<18}{:>12}{:>12}{:>12}\n", "bytes per rank", "device", "host", "nvme");
  for (size_t i = 0; i < kPurposes.size(); ++i)
    line(kPurposes[i], plan.device.bytes[i], plan.host.bytes[i], plan.nvme.bytes[i]);
  totals("at the peak", plan);
  totals("at most", foreseen.most);
  if (budgets.device + budgets.host + budgets.nvme > 0) {
    line("there is", budgets.device, budgets.host, budgets.nvme,
         fits(foreseen.most, budgets) ? "   it fits" : "   IT DOES NOT FIT");
    fmt::print("(what fits leaves {:.0f} % for what no plan foresees)\n", 100 * (1 - 1 / kMargin));
  }
}

/// Updates of a run, 0 where only the text could tell.
double updates_of(const TrainConfig& train, const Job& job) {
  const auto count = static_cast<double>(train.duration.count);
  switch (train.duration.unit) {
    case Duration::Unit::updates:
      return count;
    case Duration::Unit::tokens:
      return std::ceil(count / static_cast<double>(job.micro_batches * job.batch.target_tokens()));
    case Duration::Unit::epochs:
      break;
  }
  return 0;
}

void print_time(const Candidate& c, const TrainConfig& train) {
  if (!c.time) return;
  const StepTime& t = *c.time;
  fmt::print(
      "\nseconds per update: compute {:.3g} beside movement {:.3g}, exchange {:.3g}, tensor {:.3g}, "
      "optimizer {:.3g}: {:.3g}; {} target tokens/s\n",
      t.compute, t.movement, t.exchange, t.tensor, t.optimizer, t.total(),
      human_count(c.tokens_per_second()));
  const double updates = updates_of(train, c.job), seconds = updates * t.total();
  if (updates > 0)
    fmt::print("the whole run: {}, {}\n", counted(std::llround(updates), "update"), human_seconds(seconds));
  else if (train.duration.count > 0)
    fmt::print("the whole run: give train.duration in updates or tokens to have its time\n");
}

void print_table(const std::vector<Candidate>& list) {
  const bool timed = !list.empty() && list.front().time.has_value();
  fmt::print("\n{:<12}{:>9}{:>12}{:>11}{:>11}{:>11}{}  settings\n", "form", "experts", "parameters", "device",
             "host", "nvme", timed ? fmt::format("{:>11}{:>11}", "s/update", "tokens/s") : "");
  for (const Candidate& c : list) {
    if (c.parameters == 0) {
      fmt::print("{:<12}   one expert per rank takes {} on the device\n", c.name,
                 bytes(c.memory.device.total()));
      continue;
    }
    std::string times;
    if (c.time) times = fmt::format("{:>11.3g}{:>11}", c.time->total(), human_count(c.tokens_per_second()));
    fmt::print("{:<12}{:>9}{:>12}{:>11}{:>11}{:>11}{}  {}\n", c.name, c.job.model.moe.experts,
               human_count(static_cast<double>(c.parameters)), bytes(c.memory.device.total()),
               bytes(c.memory.host.total()), bytes(c.memory.nvme.total()), times,
               fmt::join(c.settings(), " "));
  }
  const auto bounded = [](const Candidate& c) {
    return c.parameters > 0 && c.job.model.moe.experts + c.job.mesh.ep > kMostExperts;
  };
  if (std::ranges::any_of(list, bounded))
    fmt::print("{} experts are the most that moe.experts allows\n", kMostExperts);
}

/// Returns the size of the vocabulary; where it is yet to be made and the run file leaves it open, the largest it may
/// be.
int64_t vocabulary_of(const RunConfig& config) {
  if (const int64_t rows = vocabulary_rows(config); rows > 0) return rows;
  const int64_t most = suited_size(std::numeric_limits<int64_t>::max());
  log_info(
      "vocabulary.size is left to the amount of text: planned with the most it takes, {} (--run DIR is "
      "exact)",
      most);
  return most;
}

/// Returns the shape of the run's text, or of sentences of --length that fill micro-batches on both sides.
TextShape shape_of_text(const PlanArguments& a, const RunConfig& config,
                        const std::filesystem::path& folder) {
  if (!a.run.empty()) return text_shape(config, folder);
  const int64_t length = std::min(a.length, config.data.batch_tokens);
  return {
      .vocabulary = vocabulary_of(config),
      .largest = {
          {{.rows = config.data.batch_tokens / length, .source_length = length, .target_length = length}}}};
}

Foreseen foresee(const PlanArguments& a, const RunConfig& config, const Cluster& cluster,
                 const std::filesystem::path& folder) {
  const TextShape text = shape_of_text(a, config, folder);
  ModelConfig model = config.model;
  model.vocabulary = text.vocabulary;
  Job job = job_of(config, model, mesh_of(config, cluster.world));
  if (const size_t layers = model.expert_counts().size(); !a.skew.empty() && a.skew.size() != layers)
    throw UserError("--skew: {} for {}", counted(std::ssize(a.skew), "number"),
                    counted(static_cast<int64_t>(layers), "MoE layer"));
  job.skew = a.skew;
  set_largest(job, text.largest);
  if (job.memory.uses(Tier::automatic)) {
    const std::optional<MemoryConfig> placed = place(job, cluster.budgets);
    if (!placed) throw UserError("no placement of what is \"auto\" (memory.*) fits");
    job.memory = *placed;
  }
  const ModelCost cost = cost_of(job);
  Foreseen foreseen = {
      .typical = {.job = job, .parameters = cost.parameters.total(), .memory = plan_memory(job)}};
  if (cluster.machine) foreseen.typical.time = plan_time(job, *cluster.machine, cost);
  job.memory_case = MemoryCase::worst;
  foreseen.most = plan_memory(job);
  return foreseen;
}

struct Tables {
  std::vector<Candidate> forms, layouts;
};

Tables tables_of(const PlanArguments& a, const Job& job, const Cluster& cluster) {
  Tables tables;
  const Budgets& budgets = cluster.budgets;
  if (a.forms && (budgets.device == 0 || budgets.host == 0 || budgets.nvme == 0)) {
    throw UserError(
        "--forms asks for the largest models that fit: say what there is with --device-memory, "
        "--host-memory and --nvme");
  }
  if (a.forms) tables.forms = largest_models(job, cluster);
  if (a.search) {
    if (!cluster.machine)
      throw UserError("--search compares times: give --machine, a file of `chorus bench machine`");
    tables.layouts = search_layouts(job, cluster, 10);
  }
  return tables;
}

nlohmann::json to_json(const Foreseen& foreseen, const Tables& tables, const Cluster& cluster) {
  nlohmann::json json = to_json(foreseen.typical);
  const PaddedShape& batch = foreseen.typical.job.batch;
  json["world"] = cluster.world;
  json["batch"] = {{"rows", batch.rows},
                   {"source_length", batch.source_length},
                   {"target_length", batch.target_length},
                   {"source_tokens", batch.source_tokens()},
                   {"target_tokens", batch.target_tokens()}};
  json["most"] = {{"device", foreseen.most.device.total()},
                  {"host", foreseen.most.host.total()},
                  {"nvme", foreseen.most.nvme.total()}};
  json["budgets"] = {
      {"device", cluster.budgets.device}, {"host", cluster.budgets.host}, {"nvme", cluster.budgets.nvme}};
  json["fits"] = fits(foreseen.most, cluster.budgets);
  for (const Candidate& c : tables.forms) json["forms"].push_back(to_json(c));
  for (const Candidate& c : tables.layouts) json["layouts"].push_back(to_json(c));
  return json;
}

void print(const PlanArguments& a, const RunConfig& config, const Foreseen& foreseen, const Tables& tables,
           const Cluster& cluster) {
  const Job& job = foreseen.typical.job;
  const int64_t working = std::min<int64_t>(job.mesh.dp(), job.micro_batches) * job.mesh.tp;
  fmt::print("{} parameters, {}, {} per update, the largest of {} x {} and {} tokens\n",
             human_count(static_cast<double>(foreseen.typical.parameters)), counted(cluster.world, "rank"),
             counted(job.micro_batches, "micro-batch", "micro-batches"), job.batch.rows,
             job.batch.source_length, job.batch.target_length);
  if (working < cluster.world) {
    fmt::print("no micro-batch for {}: data.micro_batches is below {}\n",
               counted(cluster.world - working, "rank"), job.mesh.dp());
  }
  fmt::print("\n");
  print_memory(foreseen, cluster.budgets);
  print_time(foreseen.typical, config.train);
  if (!fits(foreseen.most, cluster.budgets)) {
    const auto settings = remedies(job, cluster.budgets);
    if (settings)
      fmt::print("\nit would fit with --set {}\n", fmt::join(*settings, " --set "));
    else
      fmt::print("\nno placement makes it fit: more ranks, a smaller model or smaller micro-batches would\n");
  }
  if (a.forms) print_table(tables.forms);
  if (a.search && tables.layouts.empty()) fmt::print("\nno layout fits\n");
  if (!tables.layouts.empty()) print_table(tables.layouts);
}

/// Each training of a run file by name: one without, or the stages.
std::vector<std::pair<std::string, RunConfig>> trainings_of(const PlanArguments& a, const RunConfig& config) {
  std::vector<std::pair<std::string, RunConfig>> trainings;
  if (config.train.stages.empty() && a.stage.empty()) return {{"", config}};
  std::vector<RunConfig> settings = stage_settings(config);
  for (size_t i = 0; i < settings.size(); ++i) {
    const std::string& name = config.train.stages[i].name;
    if (a.stage.empty() || a.stage == name) trainings.emplace_back(name, std::move(settings[i]));
  }
  if (trainings.empty()) throw UserError("--stage: the run file has no stage \"{}\"", a.stage);
  if (trainings.size() > 1 && (a.forms || a.search))
    throw UserError("--forms and --search are of one training: name a stage of the run file with --stage");
  return trainings;
}

void run_plan(const PlanArguments& a) {
  const std::optional<RunConfig> config = read_config(a.config);
  if (!config) return;
  const auto trainings = trainings_of(a, *config);
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [name, own] : trainings) {
    check(own);
    const Cluster cluster = cluster_of(a, own);
    const Foreseen foreseen = foresee(a, own, cluster, std::filesystem::path(a.run) / name);
    const Tables tables = tables_of(a, foreseen.typical.job, cluster);
    const std::vector<Failures> failures = failures_of(a.goodput, foreseen.typical, cluster);
    if (a.json) {
      list.push_back(to_json(foreseen, tables, cluster));
      for (const Failures& some : failures) list.back()["failures"].push_back(to_json(some));
      if (!name.empty()) list.back()["stage"] = name;
      continue;
    }
    if (!name.empty()) fmt::print("{}stage {}\n", &name == &trainings.front().first ? "" : "\n", name);
    print(a, own, foreseen, tables, cluster);
    print_goodput(failures);
  }
  if (a.json) fmt::print("{}\n", (config->train.stages.empty() ? list.front() : list).dump(2));
}

}  // namespace

void add_plan(CLI::App& app) {
  CLI::App* command = app.add_subcommand("plan", "memory and time that a run file takes, before it runs");
  auto arguments = std::make_shared<PlanArguments>();
  PlanArguments& a = *arguments;
  add_config_arguments(*command, a.config);
  command->add_option("--world", a.world, "number of ranks")
      ->capture_default_str()
      ->check(between(1, 1 << 20));
  command
      ->add_option("--ranks-per-host", a.ranks_per_host,
                   "ranks per host (default: the machine file's, else 8)")
      ->check(between(1, 1 << 10));
  command->add_option("--device-memory", a.device_memory,
                      "device memory per rank, such as 40GB (default: memory.device_budget)");
  command->add_option("--host-memory", a.host_memory, "host memory per host, such as 1TB");
  command->add_option("--nvme", a.nvme, "NVMe per host, such as 8TB");
  command
      ->add_option("--run", a.run,
                   "folder of the run: micro-batches are those of its text, which is prepared there as for "
                   "training")
      ->type_name("DIR");
  command->add_option("--stage", a.stage, "plan only this [[train.stage]] (default: all)");
  command
      ->add_option("--length", a.length,
                   "without --run: tokens per sentence; micro-batches are full on both sides")
      ->capture_default_str()
      ->check(between(1, 1 << 20));
  command
      ->add_option("--skew", a.skew,
                   "load of the rank's experts divided by the mean load, one number per MoE layer (default: "
                   "that of routers that have learnt little)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(between(0.0, 1e6));
  command
      ->add_option("--machine", a.machine,
                   "rates of the machine (`chorus bench machine --out FILE`): adds times")
      ->type_name("FILE");
  add_goodput_arguments(*command, a.goodput);
  command->add_flag("--forms", a.forms, "the most experts that fit with each parallel form");
  command->add_flag("--search", a.search, "the fastest layouts of this model that fit");
  command->add_flag("--json", a.json, "print JSON");
  command->callback([arguments] { run_plan(*arguments); });
}

}  // namespace chorus::inline app
