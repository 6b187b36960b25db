// The arguments of commands that run a model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "comm/group.h"
#include "formats/folder.h"

namespace chorus::inline app {

/// What a model computes with.
struct ComputeArguments {
  std::string device = "cpu";
  std::string precision = "fp32";
  int64_t threads = 0;
};

/// Adds --device, --precision and --threads. `arguments` must live as long as the command.
void add_compute_arguments(CLI::App& command, ComputeArguments& arguments);
/// Returns the options that the arguments ask for; also sets the number of threads. UserError when the machine does
/// not have what they ask for.
Transformer::Options compute_options(const ComputeArguments& arguments, Group& group);

/// Returns the bytes that the weights may take in each process: what --memory says, "8GB" or "auto"; "": no limit.
uint64_t memory_limit(const std::string& argument, const Group& group);

struct ModelArguments : ComputeArguments {
  std::string folder;
  std::string from, to;
  std::string memory;      // "8GB", "auto"; empty: no limit
  std::string expert_use;  // what `assess --json` wrote; empty: not known
};

/// Adds --model, --from, --to, --memory, --quiet and those above. `arguments` must live as long as the command.
void add_model_arguments(CLI::App& command, ModelArguments& arguments);
/// Adds the same, but --model may be given more than once: what comes after the first goes to `others`.
void add_model_arguments(CLI::App& command, ModelArguments& arguments, std::vector<std::string>& others);

/// Warns about the directions ("en-de") among these that the model is known not to have been trained in.
void warn_untrained(const ModelConfig& model, std::span<const std::string> directions);

/// Loads the model as asked for, whole on every rank. UserError on a language it does not know, before the
/// weights are read. Warns as warn_untrained().
LoadedModel open_model(const ModelArguments& arguments, Group& group);
/// Loads it and the other folders' models, all of one vocabulary. UserError, before weights are read, also on
/// one that has another.
std::vector<LoadedModel> open_models(const ModelArguments& arguments, std::span<const std::string> others,
                                     Group& group);

/// Logs, at the end of a command, how much was read of experts that are not all in memory, if there are any.
void tell_traffic(const LoadedModel& loaded);

}  // namespace chorus::inline app
