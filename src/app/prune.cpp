// chorus prune: a model with fewer experts, those that some text needs most.
#include "surgery/prune.h"

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/model_arguments.h"
#include "app/text_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "formats/folder.h"
#include "io/json.h"
#include "mpi/world.h"
#include "surgery/models.h"

namespace chorus::inline app {
namespace {

struct PruneArguments {
  std::string folder, out, by = "utilization", method = "drop";
  TextArguments text;
  ComputeArguments compute;
  PruneOptions options;
  bool json = false;
};

std::vector<ExpertUsage> measure(const PruneArguments& a, nlohmann::json& directions) {
  Group alone;
  const ModelPlace place = find_model(a.folder);
  ModelDescription description = describe_model(place.description);
  for (const std::string& language : a.text.languages)
    static_cast<void>(description.vocabulary.language(language));
  const std::vector<DirectionText> texts =
      read_directions(sources_of(a.text), a.text.sentences, description.vocabulary.languages());
  int64_t total = 0;
  for (const DirectionText& text : texts) {
    total += std::ssize(text.sources);
    directions.push_back({{"name", text.name}, {"sentences", text.sources.size()}});
  }
  const LoadedModel loaded =
      load_model(place.weights, std::move(description), compute_options(a.compute, alone));
  Progress progress({.task = "routing", .unit = "pair", .total = total});
  std::vector<ExpertUsage> usage =
      measure_usage(*loaded.model, loaded.vocabulary, texts, [&](int64_t done) { progress.update(done); });
  progress.finish();
  return usage;
}

void prune(PruneArguments& a) {
  a.options.by = choice(kPruneBy, a.by);
  a.options.method = choice(kPruneMethods, a.method);
  const bool measured = has_text(a.text, "--files or --tsv");
  if (!measured && a.options.by != PruneBy::random)
    throw UserError("--by {} needs text: name it with --files or --tsv", a.by);
  check_absent(a.out);
  nlohmann::json directions = nlohmann::json::array();
  std::vector<ExpertUsage> usage;
  if (measured) usage = measure(a, directions);
  const PruneReport report = prune_model(a.folder, usage, a.options, a.out);
  nlohmann::json json = to_json(report);
  json["directions"] = std::move(directions);
  fmt::print("{}", a.json ? json.dump(2) + "\n" : to_text(report));
  log_info("wrote {}", a.out);
}

}  // namespace

void add_prune(CLI::App& app) {
  const auto arguments = std::make_shared<PruneArguments>();
  PruneArguments& a = *arguments;
  CLI::App* command = app.add_subcommand("prune", "fewer experts, those that some text needs most");
  command->add_option("DIR", a.folder, "model folder, run, or checkpoint of a run")
      ->required()
      ->option_text(" ");
  command->add_option("--out", a.out, "the folder to write, which must not exist yet")
      ->required()
      ->type_name("DIR");
  command->add_option("--keep", a.options.keep, "share of the experts to keep in each layer")
      ->check(between(0.0, 1.0))
      ->capture_default_str()
      ->type_name("X");
  command->add_option("--by", a.by, "how experts are ranked")
      ->check(CLI::IsMember(names_of(kPruneBy)))
      ->capture_default_str();
  command->add_option("--method", a.method, "drop the other experts, or merge them into similar ones")
      ->check(CLI::IsMember(names_of(kPruneMethods)))
      ->capture_default_str();
  command->add_flag(
      "--global", a.options.global,
      "--keep is a share of all experts: each layer keeps those that reach a common share of its scores");
  command
      ->add_option("--least", a.options.least,
                   "fewest experts that a layer keeps; 0: as many as a token is sent to")
      ->check(between(0, 65536))
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", a.options.seed, "seed of --by random")->capture_default_str()->type_name("N");
  add_quantize_option(*command, a.options.types);
  add_text_arguments(*command, a.text);
  add_data_argument(*command, a.text, "older name: --files if {lang} is in it, else --tsv");
  add_direction_arguments(*command, a.text);
  add_compute_arguments(*command, a.compute);
  command->add_flag("--json", a.json, "print JSON");
  add_quiet_option(*command);
  command->callback([arguments] { prune(*arguments); });
}

}  // namespace chorus::inline app
