// What `train` takes, and `launch` hands on to it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/commands.h"

namespace chorus::inline app {

struct TrainArguments {
  ConfigArguments config;
  std::string out;
  bool accept_changes = false, records = false;

  /// Returns where the run goes: --out, or without it runs/ and the run file's name.
  [[nodiscard]] std::filesystem::path run_folder() const;
  /// Returns the arguments as words after `train`.
  [[nodiscard]] std::vector<std::string> words() const;
};

/// Adds them to a command. `arguments` must live as long as the command.
void add_train_arguments(CLI::App& command, TrainArguments& arguments);

}  // namespace chorus::inline app
