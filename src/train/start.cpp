#include "train/internal/start.h"

#include <filesystem>

#include <nlohmann/json.hpp>

#include "architecture/exports.h"
#include "architecture/format.h"
#include "base/error.h"
#include "base/log.h"
#include "formats/folder_files.h"
#include "io/files.h"
#include "io/json.h"
#include "mpi/world.h"
#include "train/job.h"

#include "train/internal/initial_model.h"
#include "train/internal/run_folder.h"

namespace chorus::inline train {

namespace {

/// The state of the checkpoint that a run goes on from.
TrainState state_of(const Checkpoint& checkpoint) {
  const std::string where = (checkpoint.folder / "state.json").string();
  return train_state_from_json(parse_json(checkpoint.state, where), where);
}

/// `state`, with the text as it is now.
void take_text(TrainState& state, const std::string& hash, const RunOptions& options) {
  if (state.data_hash == hash) return;
  if (!options.accept_changes) {
    throw UserError(
        "the training text has changed since {} was started: give --accept-changes to go on with it from "
        "the beginning of an epoch, or another --out",
        options.folder.string());
  }
  log_warning("the training text has changed: going on from the beginning of epoch {}",
              state.position.epoch + 1);
  state.position = {.epoch = state.position.epoch + 1, .update = state.updates};
  state.data_hash = hash;
}

/// The model with what the text decides.
ModelConfig model_for(const RunConfig& config, const Data& data) {
  ModelConfig model = config.model;
  model.vocabulary = data.vocabulary.size();
  std::vector<std::string> directions;
  for (const Direction& direction : data.train->directions())
    if (direction.task == 0) directions.push_back(direction.name);
  model.directions = config.train.init.empty() ? directions : united_directions(model.directions, directions);
  return model;
}

/// What `chorus align` chose for the run's model stays, whatever becomes of its weights.
void take_alignment(ModelConfig& model, const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder / kConfigFile)) return;
  try {
    const ModelConfig kept = model_config_from_json(read_json(folder / kConfigFile));
    model.alignment_layer = kept.alignment_layer;
    model.alignment_head = kept.alignment_head;
  } catch (const UserError& error) {  // it will be written anew
    log_warning("{}: {}; what chorus align chose is lost", folder.string(), error.what());
  }
}

}  // namespace

Start prepare(const RunConfig& config, const RunOptions& options, const ModelDescription* initial,
              RunFiles& files, Group& group) {
  check(config);
  if (initial) check_architecture(config, initial->config);
  Start start = {.mesh = mesh_of(config, group.size())};
  for (const std::string& line : summary(start.mesh, common_experts(config.model)))
    log_info("mesh: {}", line);
  log_info("{}", describe_exports(config.model));
  agree(group, "a program", hash_text(hash_file("/proc/self/exe")));
  agree(group, "settings", settings_text(config));

  start.checkpoint = files.latest();
  if (start.checkpoint) start.state = state_of(*start.checkpoint);
  if (group.rank() == 0) check_settings(config, options, start.checkpoint.has_value());
  group.barrier("comparing settings");

  start.data = open_inputs(config,
                           {.run = options.folder,
                            .initial = initial ? &initial->vocabulary : nullptr,
                            .trained_with = start.state.vocabulary_hash},
                           group);
  start.state.vocabulary_hash = hash_text(start.data->vocabulary.hash());
  const std::string text = hash_text(start.data->train->hash());
  if (start.checkpoint) {
    take_text(start.state, text, options);
  } else {
    start.state.data_hash = text;
  }

  start.model = model_for(config, *start.data);
  if (start.checkpoint) take_alignment(start.model, options.folder / "model");
  start.stream = std::make_unique<BatchStream>(*start.data->train, batch_options(config));
  start.memory =
      settle_memory(config, job_of(config, start.model, start.mesh), *start.stream, options.folder, group);
  if (start.checkpoint) start.stream->seek(start.state.position);
  return start;
}

ModelDescription check_start(const RunConfig& config, const RunOptions& options,
                             const ModelDescription* initial) {
  Group alone;
  Group& group = options.group ? *options.group : alone;
  group.set_timeout(config.parallel.timeout);
  const RunFolder held(options.folder, group);
  RunFiles files(options.folder, group);
  Start start = prepare(config, options, initial, files, group);
  return {.config = start.model, .vocabulary = std::move(start.data->vocabulary)};
}

}  // namespace chorus::inline train
