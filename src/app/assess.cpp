// chorus assess: a model on aligned text, in many directions at once.
#include <memory>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/model_arguments.h"
#include "app/text_arguments.h"
#include "base/error.h"
#include "base/progress.h"
#include "formats/folder.h"
#include "mpi/world.h"
#include "train/assessment.h"

namespace chorus::inline app {

namespace {

struct AssessArguments {
  std::string model, tokenize, spm;
  TextArguments text;
  ComputeArguments compute;
  AssessOptions options;
  bool no_load = false, json = false;
};

void run(AssessArguments& arguments) {
  World world;
  AssessOptions& options = arguments.options;
  options.group = &world.group();
  options.load = !arguments.no_load;
  if (!arguments.tokenize.empty() || !arguments.spm.empty())
    options.tokenizer = Tokenizer(arguments.tokenize.empty() ? "spm" : arguments.tokenize, arguments.spm);
  const std::vector<SourceConfig> sources = sources_of(arguments.text);
  if (sources.empty()) throw UserError("name the text with --files \"test.{lang}\" or --tsv");
  const LoadedModel loaded = load_model(arguments.model, compute_options(arguments.compute, world.group()));
  for (const std::string& language : arguments.text.languages)
    static_cast<void>(loaded.vocabulary.language(loaded.vocabulary.language_of_label(language)));
  std::optional<Progress> progress;
  options.progress = [&](int64_t done, int64_t total) {
    if (!progress) progress.emplace(ProgressOptions{.task = "translating", .unit = "line", .total = total});
    progress->update(done);
  };
  const Assessment assessment =
      assess(*loaded.model, loaded.vocabulary,
             read_directions(sources, arguments.text.sentences, loaded.vocabulary.languages()), options);
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
  auto arguments = std::make_shared<AssessArguments>();
  AssessOptions& o = arguments->options;
  o.samples = 10;
  command->add_option("--model", arguments->model, "model folder, run, or checkpoint of a run")
      ->required()
      ->type_name("DIR");
  add_text_arguments(*command, arguments->text);
  add_direction_arguments(*command, arguments->text);
  command->add_option("--beam", o.decode.beam, "hypotheses kept at each step")
      ->check(between(1, 64))
      ->capture_default_str();
  command
      ->add_option("--tokenize", arguments->tokenize,
                   "BLEU's tokeniser (default: zh, char or 13a, as suits the target language)")
      ->type_name("{13a,intl,zh,char,none,spm}");
  command->add_option("--spm", arguments->spm, "the SentencePiece model of --tokenize spm")
      ->type_name("FILE");
  command->add_option("--samples", o.samples, "how many translations to show")
      ->check(between<int64_t>(0, kMostLines))
      ->capture_default_str();
  add_compute_arguments(*command, arguments->compute);
  command->add_flag("--no-load", arguments->no_load, "do not measure which experts serve which language");
  command->add_flag("--json", arguments->json, "print JSON");
  add_quiet_option(*command);
  command->callback([arguments] { run(*arguments); });
}

}  // namespace chorus::inline app
