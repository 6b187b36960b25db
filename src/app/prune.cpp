// chorus prune: a model with fewer experts, those that some text needs most.
#include "surgery/prune.h"

#include <filesystem>
#include <memory>
#include <optional>
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

constexpr const char* kAuto = "auto";  // of --method

struct PruneArguments {
  std::string folder, out, by = "utilization", method = "auto";
  TextArguments text;
  ComputeArguments compute;
  PruneOptions options;
  bool no_refit = false;
  bool json = false;
};

std::vector<DirectionText> read_text(const PruneArguments& a, const ModelPlace& place) {
  const Vocabulary vocabulary = describe_model(place.description).vocabulary;
  for (const std::string& language : a.text.languages)
    static_cast<void>(vocabulary.language(vocabulary.language_of_label(language)));
  return read_directions(sources_of(a.text), a.text.sentences, vocabulary.languages());
}

/// The model and the text that it is run over.
struct Measuring {
  explicit Measuring(const PruneArguments& a)
      : options(compute_options(a.compute, alone)),
        place(find_model(a.folder)),
        texts(read_text(a, place)),
        model(load_model(place.weights, describe_model(place.description), options)) {
    for (const DirectionText& text : texts) pairs += std::ssize(text.sources);
  }

  std::vector<ExpertUsage> usage() {
    Progress progress({.task = "routing", .unit = "pair", .total = pairs});
    std::vector<ExpertUsage> found =
        measure_usage(*model.model, model.vocabulary, texts, [&](int64_t done) { progress.update(done); });
    progress.finish();
    return found;
  }

  std::vector<std::vector<OutputCorrection>> refit(const std::filesystem::path& folder) {
    const LoadedModel pruned = load_model(folder, options);
    Progress progress(
        {.task = "fitting", .unit = "pair", .total = pairs * model.model->catalogue().sparse_layers()});
    auto corrections = refit_outputs(*pruned.model, *model.model, model.vocabulary, texts,
                                     [&](int64_t done) { progress.update(done); });
    progress.finish();
    return corrections;
  }

  [[nodiscard]] nlohmann::json directions() const {
    nlohmann::json list = nlohmann::json::array();
    for (const DirectionText& text : texts)
      list.push_back({{"name", text.name}, {"sentences", text.sources.size()}});
    return list;
  }

  Group alone;
  Transformer::Options options;
  ModelPlace place;
  std::vector<DirectionText> texts;
  LoadedModel model;
  int64_t pairs = 0;
};

void prune(PruneArguments& a) {
  a.options.by = choice(kPruneBy, a.by);
  const bool measured = has_text(a.text, "--files or --tsv");
  if (!measured && a.options.by != PruneBy::random)
    throw UserError("--by {} needs text: name it with --files or --tsv", a.by);
  const ModelConfig config = describe_model(find_model(a.folder).description).config;
  const bool adapts = measured && !config.quantization.any();
  if (a.method != kAuto)
    a.options.method = choice(kPruneMethods, a.method);
  else
    a.options.method = adapts ? PruneMethod::merge : PruneMethod::drop;
  const bool refits = adapts && !a.no_refit;
  check_prunable(config, a.options, refits, a.folder);
  check_absent(a.out);
  if (measured && !adapts) {
    log_info(
        "{}: quantized experts stay as they are, and take on nothing of those that go; the model that it was "
        "made from would lose less",
        a.folder);
  }
  std::optional<Measuring> text;
  std::vector<ExpertUsage> usage;
  if (measured) usage = text.emplace(a).usage();
  Refit refit;
  if (refits) refit = [&](const std::filesystem::path& pruned) { return text->refit(pruned); };
  std::optional<Progress> progress;
  const auto merged = [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace(ProgressOptions{.task = "merging", .unit = "expert", .total = total});
    progress->update(done);
    if (done == total) progress->finish();
  };
  const PruneReport report = prune_model(a.folder, usage, a.options, a.out, refit, merged);
  nlohmann::json json = to_json(report);
  json["directions"] = text ? text->directions() : nlohmann::json::array();
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
  std::vector<std::string> methods = names_of(kPruneMethods);
  methods.emplace(methods.begin(), kAuto);
  command
      ->add_option(
          "--method", a.method,
          "drop the other experts, or merge them into similar ones; auto: merge, where text is named and the "
          "model's weights are not quantized")
      ->check(CLI::IsMember(methods))
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
  command->add_flag(
      "--no-refit", a.no_refit,
      "leave the experts that stay as they are; by default, where text is named and the model's weights are "
      "not quantized, least squares correct them, so that for this text each layer gives what it gave "
      "before; some thousand pairs do well");
  command->add_option("--seed", a.options.seed, "seed of --by random")
      ->check(any_seed())
      ->capture_default_str()
      ->type_name("N");
  add_quantize_option(*command, a.options.types);
  add_text_arguments(*command, a.text);
  add_direction_arguments(*command, a.text);
  add_compute_arguments(*command, a.compute);
  command->add_flag("--json", a.json, "print JSON");
  add_quiet_option(*command);
  command->callback([arguments] { prune(*arguments); });
}

}  // namespace chorus::inline app
