// chorus plan: what a run takes, before it runs.
#include <algorithm>
#include <limits>
#include <memory>
#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/log.h"
#include "chorus/base/text.h"
#include "chorus/data/vocabulary.h"
#include "chorus/model/cost.h"
#include "chorus/plan/forms.h"
#include "chorus/train/job.h"

#include "app/commands.h"
#include "app/form_plot.h"

namespace chorus {
namespace {

struct PlanArguments {
  ConfigArguments config;
  int64_t world = 1, ranks_per_host = 8, length = 32;
  std::vector<double> skew;
  std::string device_memory, host_memory, nvme, machine, plot;
  bool search = false, forms = false, json = false;
};

std::string list_options() {
  RunConfig config;
  Schema schema;
  describe(schema, config);
  return schema.help();
}

Cluster cluster_of(const PlanArguments& a, const MemoryConfig& memory) {
  Cluster cluster = {.world = static_cast<int>(a.world),
                     .ranks_per_host = std::min(a.world, a.ranks_per_host),
                     .budgets = budgets_of(memory)};
  const auto share = [&](const std::string& text, const char* option) {
    return parse_bytes(text, option) / cluster.ranks_per_host;
  };
  if (!a.device_memory.empty()) cluster.budgets.device = parse_bytes(a.device_memory, "--device-memory");
  if (!a.host_memory.empty()) cluster.budgets.host = share(a.host_memory, "--host-memory");
  if (!a.nvme.empty()) cluster.budgets.nvme = share(a.nvme, "--nvme");
  if (!a.machine.empty()) {
    cluster.machine = read_machine(a.machine);
    cluster.machine->ranks_per_host = cluster.ranks_per_host;
  }
  return cluster;
}

nlohmann::json to_json(const Holdings& held) {
  nlohmann::json json;
  for (size_t i = 0; i < kPurposes.size(); ++i) json[std::string(kPurposes[i])] = held.bytes[i];
  json["total"] = held.total();
  return json;
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

void print_memory(const MemoryPlan& plan, const Budgets& budgets) {
  fmt::print("{:<14}{:>12}{:>12}{:>12}\n", "bytes a rank", "device", "host", "nvme");
  for (size_t i = 0; i < kPurposes.size(); ++i) {
    fmt::print("{:<14}{:>12}{:>12}{:>12}\n", kPurposes[i], bytes(plan.device.bytes[i]),
               bytes(plan.host.bytes[i]), bytes(plan.nvme.bytes[i]));
  }
  fmt::print("{:<14}{:>12}{:>12}{:>12}\n", "at the peak", bytes(plan.device.total()),
             bytes(plan.host.total()), bytes(plan.nvme.total()));
  if (budgets.device + budgets.host + budgets.nvme > 0) {
    fmt::print("{:<14}{:>12}{:>12}{:>12}   {}\n", "there is", bytes(budgets.device), bytes(budgets.host),
               bytes(budgets.nvme), fits(plan, budgets) ? "it fits" : "IT DOES NOT FIT");
  }
}

void print_time(const Candidate& c) {
  if (!c.time) return;
  const StepTime& t = *c.time;
  fmt::print(
      "\nseconds an update: compute {:.3g} beside movement {:.3g}, exchange {:.3g}, tensor {:.3g}, "
      "optimizer {:.3g}: {:.3g}; {} target tokens/s\n",
      t.compute, t.movement, t.exchange, t.tensor, t.optimizer, t.total(),
      human_count(c.tokens_per_second()));
}

void print_table(const std::vector<Candidate>& list) {
  const bool timed = !list.empty() && list.front().time.has_value();
  fmt::print("\n{:<12}{:>9}{:>12}{:>11}{:>11}{:>11}{}  settings\n", "form", "experts", "parameters", "device",
             "host", "nvme", timed ? fmt::format("{:>11}{:>11}", "s/update", "tokens/s") : "");
  for (const Candidate& c : list) {
    if (c.parameters == 0) {
      fmt::print("{:<12}   one expert a rank takes {} on the device\n", c.name,
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
}

void plan(const PlanArguments& a) {
  const std::optional<RunConfig> given = read_config(a.config);
  if (!given) return;
  const RunConfig& config = *given;
  check(config);
  ModelConfig model = config.model;
  if (config.train.init.empty()) {
    model.vocabulary = config.vocabulary.size;
    if (model.vocabulary == 0) {
      model.vocabulary = suited_size(std::numeric_limits<int64_t>::max());
      log_info("vocabulary.size is left to the amount of text: planned with the most it takes, {}",
               model.vocabulary);
    }
  }
  const Mesh mesh = mesh_of(config, static_cast<int>(a.world));
  const int64_t length = std::min(a.length, config.data.batch_tokens);
  Job job =
      job_of(config, model, mesh,
             {.rows = config.data.batch_tokens / length, .source_length = length, .target_length = length});
  job.skew = a.skew;
  const Cluster cluster = cluster_of(a, config.memory);
  if (job.memory.uses(Tier::automatic)) {
    const std::optional<MemoryConfig> placed = place(job, cluster.budgets);
    if (!placed) throw UserError("no placement of what is \"auto\" (memory.*) fits");
    job.memory = *placed;
  }
  Candidate own = {
      .job = job, .parameters = cost_of(model, 1).parameters.total(), .memory = plan_memory(job)};
  if (cluster.machine) own.time = plan_time(job, *cluster.machine);
  std::vector<Candidate> forms, layouts;
  const Budgets& budgets = cluster.budgets;
  if ((a.forms || !a.plot.empty()) && (budgets.device == 0 || budgets.host == 0 || budgets.nvme == 0))
    throw UserError(
        "--forms asks for the largest models that fit: say what there is with --device-memory, "
        "--host-memory and --nvme");
  if (a.forms || !a.plot.empty()) forms = largest_models(job, cluster);
  if (a.search) {
    if (!cluster.machine)
      throw UserError("--search compares times: give --machine, a file of `chorus bench machine`");
    layouts = search_layouts(job, cluster, 10);
  }
  if (!a.plot.empty()) write_file_atomically(a.plot, form_plot(forms, cluster));
  if (a.json) {
    nlohmann::json json = to_json(own);
    json["world"] = a.world;
    json["fits"] = fits(own.memory, cluster.budgets);
    for (const Candidate& c : forms) json["forms"].push_back(to_json(c));
    for (const Candidate& c : layouts) json["layouts"].push_back(to_json(c));
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{} parameters, {} ranks, {} micro-batches of {} x {} tokens a rank and update\n\n",
             human_count(static_cast<double>(own.parameters)), a.world, job.micro_batches, job.batch.rows,
             length);
  print_memory(own.memory, cluster.budgets);
  print_time(own);
  if (!fits(own.memory, cluster.budgets)) {
    const auto settings = remedies(job, cluster.budgets);
    if (settings)
      fmt::print("\nit would fit with --set {}\n", fmt::join(*settings, " --set "));
    else
      fmt::print("\nno placement makes it fit: more ranks, a smaller model or smaller micro-batches would\n");
  }
  if (a.forms) print_table(forms);
  if (a.search && layouts.empty()) fmt::print("\nno layout fits\n");
  if (!layouts.empty()) print_table(layouts);
}

}  // namespace

void add_plan(CLI::App& app) {
  CLI::App* command = app.add_subcommand("plan", "memory and time that a run file takes, before it runs");
  auto arguments = std::make_shared<PlanArguments>();
  PlanArguments& a = *arguments;
  add_config_arguments(*command, a.config, list_options);
  command->add_option("--world", a.world, "ranks")->capture_default_str()->check(between(1, 1 << 20));
  command->add_option("--ranks-per-host", a.ranks_per_host, "ranks of a host")
      ->capture_default_str()
      ->check(between(1, 1 << 10));
  command->add_option("--device-memory", a.device_memory,
                      "of a rank, as 40GB (default: memory.device_budget)");
  command->add_option("--host-memory", a.host_memory, "of a host, as 1TB");
  command->add_option("--nvme", a.nvme, "of a host, as 8TB");
  command->add_option("--length", a.length, "tokens of a sentence; micro-batches are full on both sides")
      ->capture_default_str()
      ->check(between(1, 1 << 20));
  command
      ->add_option("--skew", a.skew,
                   "load of the rank's experts over the mean, one for each MoE layer (default: 1)")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(between(0.0, 1e6));
  command->add_option("--machine", a.machine, "rates (`chorus bench machine --out FILE`): adds times");
  command->add_flag("--forms", a.forms, "the largest model that each parallel form holds, by experts");
  command->add_flag("--search", a.search, "the fastest layouts of this model that fit");
  command->add_option("--plot", a.plot, "draw the forms into this SVG file");
  command->add_flag("--json", a.json, "print JSON");
  command->callback([arguments] { plan(*arguments); });
}

}  // namespace chorus
