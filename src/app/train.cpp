#include "chorus/base/error.h"
#include "chorus/base/log.h"
#include "chorus/comm/world.h"
#include "chorus/train/stages.h"

#include "app/commands.h"

namespace chorus {

namespace {

struct Arguments {
  ConfigArguments config;
  std::string out;
  bool accept_changes = false;
};

std::string list_options() {
  RunConfig config;
  Schema schema;
  describe(schema, config);
  return schema.help();
}

/// Where a run goes when --out is not given: runs/ and the run file's name.
std::filesystem::path run_folder(const Arguments& arguments) {
  if (!arguments.out.empty()) return arguments.out;
  return std::filesystem::path("runs") / std::filesystem::path(arguments.config.file).stem();
}

void run(const Arguments& arguments) {
  World world;
  const std::optional<RunConfig> given = read_config(arguments.config);
  if (!given) return;
  const RunConfig& config = *given;
  const std::filesystem::path folder = run_folder(arguments);
  const Ending ending = train_stages(
      config, {.folder = folder, .accept_changes = arguments.accept_changes, .group = &world.group()});
  const std::string model = (last_run(config, folder) / "model").string();
  switch (ending) {
    case Ending::done:
      log_info("done; the model is {}", model);
      break;
    case Ending::out_of_time:
      log_info("train.time_limit reached; the model is {}", model);
      break;
    case Ending::no_better:
      log_info("no better validation in a while (validation.patience); the best model is {}", model);
      break;
    case Ending::interrupted:
      throw Error("interrupted; {} is saved, and the same command goes on with it", folder.string());
  }
}

}  // namespace

void add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "train a model; the same line again resumes");
  auto arguments = std::make_shared<Arguments>();
  add_config_arguments(*command, arguments->config, list_options);
  add_quiet_option(*command);
  command->add_option("--out", arguments->out, "the run's folder (default: runs/ and the run file's name)");
  command->add_flag("--accept-changes", arguments->accept_changes,
                    "go on with a run whose settings or text have changed");
  command->callback([arguments] { run(*arguments); });
}

}  // namespace chorus
