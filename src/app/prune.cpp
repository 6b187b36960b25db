// chorus prune: a model with fewer experts, those that some text needs most.
#include "chorus/surgery/prune.h"

#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "chorus/base/error.h"
#include "chorus/base/json.h"
#include "chorus/base/log.h"
#include "chorus/base/progress.h"
#include "chorus/base/text.h"
#include "chorus/comm/world.h"
#include "chorus/model/folder.h"
#include "chorus/surgery/models.h"

#include "app/commands.h"

namespace chorus {
namespace {

struct PruneArguments {
  std::string folder, out, by = "utilization", method = "drop", precision = "fp32";
  std::vector<std::string> data;
  SourceConfig source;  // what all files of --data have in common
  int64_t sentences = 0, threads = 0;
  PruneOptions options;
  bool json = false;
};

template <class Enum>
Enum choice(const std::vector<std::pair<std::string, Enum>>& names, const std::string& text) {
  for (const auto& [name, value] : names)
    if (name == text) return value;
  throw Error("an unknown choice {}", in_quotes(text));
}

template <class Enum>
std::vector<std::string> names_of(const std::vector<std::pair<std::string, Enum>>& choices) {
  std::vector<std::string> names;
  names.reserve(choices.size());
  for (const auto& [name, unused] : choices) names.push_back(name);
  return names;
}

/// The text, by direction; also checks what it says of languages.
std::vector<DirectionText> read_text(const PruneArguments& a, const Vocabulary& vocabulary) {
  std::vector<SourceConfig> sources;
  for (const std::string& path : a.data) {
    SourceConfig& source = sources.emplace_back(a.source);
    (path.find("{lang}") == std::string::npos ? source.tsv : source.files) = path;
    source.name = path;
    if (source.languages.empty()) source.languages = vocabulary.languages();
    for (const std::string& language : source.languages) static_cast<void>(vocabulary.language(language));
  }
  return read_directions(sources, a.sentences);
}

std::vector<ExpertUsage> measure(const PruneArguments& a, nlohmann::json& directions) {
  Group alone;
  set_threads(a.threads, alone);
  const ModelPlace place = find_model(a.folder);
  ModelDescription description = describe_model(place.description);
  const std::vector<DirectionText> texts = read_text(a, description.vocabulary);
  int64_t total = 0;
  for (const DirectionText& text : texts) {
    total += std::ssize(text.sources);
    directions.push_back({{"name", text.name}, {"sentences", text.sources.size()}});
  }
  const LoadedModel loaded = load_model(place.weights, std::move(description),
                                        {.compute = a.precision == "bf16" ? at::kBFloat16 : at::kFloat});
  Progress progress({.task = "routing", .unit = "pairs", .total = total});
  std::vector<ExpertUsage> usage =
      measure_usage(*loaded.model, loaded.vocabulary, texts, [&](int64_t done) { progress.update(done); });
  progress.finish();
  return usage;
}

void prune(PruneArguments& a) {
  a.options.by = choice(kPruneBy, a.by);
  a.options.method = choice(kPruneMethods, a.method);
  if (a.data.empty() && a.options.by != PruneBy::random)
    throw UserError("--by {} needs text: name its files with --data", a.by);
  check_absent(a.out);
  nlohmann::json directions = nlohmann::json::array();
  std::vector<ExpertUsage> usage;
  if (!a.data.empty()) usage = measure(a, directions);
  const PruneReport report = prune_model(a.folder, usage, a.options, a.out);
  nlohmann::json json = to_json(report);
  json["directions"] = std::move(directions);
  fmt::print("{}", a.json ? json.dump(2) + "\n" : to_text(report));
  log_info("wrote {}", a.out);
}

void add_data_options(CLI::App& command, PruneArguments& a) {
  command.add_option("--data", a.data, "aligned text: \"dev.{lang}\" (a file a language), or a TSV file")
      ->type_name("FILE");
  command.add_option("--languages", a.source.languages, "of the files: default all of the model's")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("en,de");
  command
      .add_option("--directions", a.source.directions,
                  "what of the text counts: en-de,en-*,*-en; default all")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("en-de");
  command.add_option("--sentences", a.sentences, "of each direction, the first ones; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("N");
  command.add_option("--precision", a.precision, "of the arithmetic that the text is run with")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  command.add_option("--threads", a.threads, "CPU threads; 0: as many as cores")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->type_name("N");
}

}  // namespace

void add_prune(CLI::App& app) {
  const auto arguments = std::make_shared<PruneArguments>();
  PruneArguments& a = *arguments;
  CLI::App* command = app.add_subcommand("prune", "fewer experts, those that some text needs most");
  command->add_option("DIR", a.folder, "model folder, run, or checkpoint of a run")
      ->required()
      ->option_text(" ");
  command->add_option("--out", a.out, "the folder to write, which is not there yet")
      ->required()
      ->type_name("DIR");
  command->add_option("--keep", a.options.keep, "share of the experts that stay, in each layer")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->type_name("X");
  command->add_option("--by", a.by, "what an expert is judged by")
      ->check(CLI::IsMember(names_of(kPruneBy)))
      ->capture_default_str();
  command
      ->add_option("--method", a.method, "what becomes of the others: dropped, or merged into similar ones")
      ->check(CLI::IsMember(names_of(kPruneMethods)))
      ->capture_default_str();
  command->add_flag("--global", a.options.global,
                    "--keep is a share of all: in each layer as many as reach a common share of the scores");
  command
      ->add_option("--least", a.options.least, "experts of each layer that stay; 0: as many as a token takes")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->type_name("N");
  command->add_option("--seed", a.options.seed, "of --by random")->capture_default_str()->type_name("N");
  add_data_options(*command, a);
  command->add_flag("--json", a.json, "print JSON");
  add_quiet_option(*command);
  command->callback([arguments] { prune(*arguments); });
}

}  // namespace chorus
