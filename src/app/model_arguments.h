// The arguments of commands that run a model.
#pragma once

#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>

#include "chorus/comm/group.h"
#include "chorus/model/folder.h"

namespace chorus {

struct ModelArguments {
  std::string folder;
  std::string from, to;
  std::string device = "cpu";
  std::string precision = "fp32";
  int64_t threads = 0;
};

/// Adds --model, --from, --to, --device, --precision, --threads and --quiet. `arguments` must live as long as
/// the command.
void add_model_arguments(CLI::App& command, ModelArguments& arguments);

/// Loads the model as asked for, whole on every rank. UserError on a language it does not know, before the
/// weights are read.
LoadedModel open_model(const ModelArguments& arguments, Group& group);

}  // namespace chorus
