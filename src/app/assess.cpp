// chorus assess: a model on aligned text, in many directions at once.
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "chorus/base/progress.h"
#include "chorus/comm/world.h"
#include "chorus/model/folder.h"
#include "chorus/train/assessment.h"

#include "app/commands.h"
#include "app/model_arguments.h"

namespace chorus {

namespace {

struct Arguments {
  std::string model;
  SourceConfig source;
  AssessOptions options;
  int64_t threads = 0;
  bool no_load = false, json = false;
};

void run(Arguments& arguments) {
  World world;
  arguments.options.group = &world.group();
  set_threads(arguments.threads, world.group());
  const LoadedModel loaded = load_model(arguments.model, {});
  if (arguments.source.languages.empty()) arguments.source.languages = loaded.vocabulary.languages();
  for (const std::string& language : arguments.source.languages)
    static_cast<void>(loaded.vocabulary.language(language));
  std::unique_ptr<Progress> progress;
  arguments.options.load = !arguments.no_load;
  arguments.options.progress = [&](int64_t done, int64_t total) {
    if (!progress)
      progress =
          std::make_unique<Progress>(ProgressOptions{.task = "translating", .unit = "lines", .total = total});
    progress->update(done);
  };
  const Assessment assessment =
      assess(*loaded.model, loaded.vocabulary, std::span(&arguments.source, 1), arguments.options);
  progress.reset();
  std::vector<std::string> directions;
  directions.reserve(assessment.directions.size());
  for (const DirectionScore& direction : assessment.directions) directions.push_back(direction.name);
  warn_untrained(loaded.model->config(), directions);
  if (world.group().rank() > 0) return;
  fmt::print("{}", arguments.json ? to_json(assessment).dump(2) + "\n" : to_text(assessment));
}

}  // namespace

void add_assess(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("assess", "translate aligned text in many directions; score, samples, expert load");
  auto arguments = std::make_shared<Arguments>();
  AssessOptions& o = arguments->options;
  o.decode.beam = 4;
  o.samples = 10;
  command->add_option("--model", arguments->model, "model folder, or a run's")->required();
  command->add_option("--files", arguments->source.files, "aligned files: \"test.{lang}.gz\"");
  command->add_option("--tsv", arguments->source.tsv, "or one TSV file, a column a language");
  command->add_option("--languages", arguments->source.languages, "en,de,...: default all of the model's")
      ->delimiter(',');
  command->add_option("--directions", arguments->source.directions, "en-de,en-*,*-en: default all")
      ->delimiter(',');
  command->add_option("--sentences", o.sentences, "of each direction, the first ones; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--beam", o.decode.beam, "hypotheses kept")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  command->add_option("--tokenize", o.tokenize, "BLEU's tokeniser: 13a, intl, zh, char, none")
      ->capture_default_str();
  command->add_option("--samples", o.samples, "translations shown")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--threads", arguments->threads,
                   "CPU threads; 0: as many as cores, shared by the ranks of a host")
      ->check(CLI::Range(0, 4096));
  command->add_flag("--no-load", arguments->no_load, "leave out which experts serve which language");
  command->add_flag("--json", arguments->json, "for machines");
  add_quiet_option(*command);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace chorus
