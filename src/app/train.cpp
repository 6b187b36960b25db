#include <csignal>
#include <cstdio>
#include <functional>
#include <iostream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "app/train_arguments.h"
#include "base/error.h"
#include "base/log.h"
#include "io/run_layout.h"
#include "mpi/world.h"
#include "train/stages.h"

namespace chorus::inline app {

namespace {

/// Prints each record; once nobody reads them, no more: what is trained is worth more than that.
std::function<void(const nlohmann::json&)> printer_of_records() {
  return [broken = false](const nlohmann::json& record) mutable {
    if (broken) return;
    try {
      fmt::print("{}\n", record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
      flush_stdout();
    } catch (...) {  // ClosedPipe is no exception of the library's
      // What is left of it would fail again at the end.
      broken = std::freopen("/dev/null", "w", stdout) != nullptr;
      if (!broken) throw;
      std::cout.clear();
      log_warning("--records: standard output takes no more; the run goes on without it");
    }
  };
}

/// The exit code: 0, or as a shell says which signal ended the run.
int run(const TrainArguments& arguments) {
  World world;
  const std::optional<RunConfig> given = read_config(arguments.config);
  if (!given) return 0;
  const RunConfig& config = *given;
  const std::filesystem::path folder = arguments.run_folder();
  RunOptions options = {
      .folder = folder, .accept_changes = arguments.accept_changes, .group = &world.group()};
  if (arguments.records) options.on_record = printer_of_records();
  const Ending ending = train_stages(config, options);
  const std::string model = (last_run(config, folder) / kRunModel).string();
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
    case Ending::terminated:
      if (world.group().rank() == 0) {
        console().print(
            fmt::format("chorus: error: interrupted; {} is saved, and the same command goes on with it",
                        folder.string()));
      }
      world.group().barrier("saying that all is saved");  // mpirun may kill those that leave
      return 128 + (ending == Ending::terminated ? SIGTERM : SIGINT);
  }
  return 0;
}

}  // namespace

std::filesystem::path TrainArguments::run_folder() const {
  if (!out.empty()) return out;
  return std::filesystem::path("runs") / std::filesystem::path(config.file).stem();
}

std::vector<std::string> TrainArguments::words() const {
  std::vector<std::string> words = {(config.file.starts_with('-') ? "./" : "") + config.file, "--out",
                                    run_folder().string()};
  for (const std::string& setting : config.settings) words.insert(words.end(), {"--set", setting});
  if (console().quiet()) words.emplace_back("--quiet");
  if (accept_changes) words.emplace_back("--accept-changes");
  if (records) words.emplace_back("--records");
  return words;
}

void add_train_arguments(CLI::App& command, TrainArguments& arguments) {
  add_config_arguments(command, arguments.config);
  add_quiet_option(command);
  command.add_option("--out", arguments.out, "the run's folder (default: runs/ and the run file's name)")
      ->type_name("DIR");
  command.add_flag("--accept-changes", arguments.accept_changes,
                   "go on with a run whose settings or text have changed");
  command.add_flag("--records", arguments.records,
                   "print each record of metrics.jsonl on standard output too, as it is written");
}

void add_train(CLI::App& app) {
  CLI::App* command = app.add_subcommand("train", "train a model; the same line again resumes");
  auto arguments = std::make_shared<TrainArguments>();
  add_train_arguments(*command, *arguments);
  command->callback([arguments] {
    if (const int code = run(*arguments)) throw ExitCode{code};
  });
}

}  // namespace chorus::inline app
