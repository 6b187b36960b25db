#include "train/internal/start.h"

#include <cmath>
#include <filesystem>

#include <nlohmann/json.hpp>

#include "architecture/exports.h"
#include "architecture/format.h"
#include "base/error.h"
#include "base/log.h"
#include "comm/ranks.h"
#include "formats/folder_files.h"
#include "io/files.h"
#include "io/json.h"
#include "io/run_layout.h"
#include "kernels/cpu.h"
#include "kernels/device.h"
#include "train/job.h"
#include "train/validation.h"

#include "train/internal/initial_model.h"
#include "train/internal/run_folder.h"

namespace chorus::inline train {

namespace {

/// What decides the number that a validation is judged by.
std::string criterion_hash(const RunConfig& config, const Data& data) {
  const ValidationConfig& v = config.validation;
  std::string text = data.valid ? hash_text(data.valid->hash()) : "";
  text += fmt::format(" {}", static_cast<int>(v.criterion));
  text += v.criterion == Criterion::loss ? fmt::format(" {}", v.sentences)
                                         : fmt::format(" {} {} {}", translated_pairs(v), v.beam, v.tokenize);
  return hash_text(hash_bytes(std::string_view(text)));
}

/// `state`, of a checkpoint or a beginning, with the text, its order and the criterion as they are now.
void take_text(TrainState& state, const Start& start, const RunConfig& config, const RunOptions& options) {
  const std::string text = hash_text(start.data->train->hash());
  const std::string order = hash_text(hash(batch_options(config)));
  const std::string criterion = criterion_hash(config, *start.data);
  const int64_t per_epoch = start.stream->examples_per_epoch();
  if (start.checkpoint) {
    const bool other_text = state.data_hash != text;
    if (other_text && !options.accept_changes) {
      throw UserError(
          "the training text has changed since {} was started: give --accept-changes to go on with it from "
          "the beginning of an epoch, or another --out",
          options.folder.string());
    }
    if (other_text || (!state.order_hash.empty() && state.order_hash != order)) {
      log_warning("the training text{} has changed: going on from the beginning of epoch {}",
                  other_text ? "" : "'s order", state.position.epoch + 1);
      state.position = {.epoch = state.position.epoch + 1, .update = state.updates};
    }
    if (state.sentences_per_epoch > 0 && state.sentences_per_epoch != per_epoch)  // as many epochs as before
      state.sentences = std::llround(state.epochs() * static_cast<double>(per_epoch));
    if (!state.criterion_hash.empty() && state.criterion_hash != criterion && state.best) {
      log_warning("what the best model is chosen by has changed: the next validation is the best so far");
      state.best.reset();
      state.best_update = -1;
      state.stale_validations = 0;
    }
  }
  state.data_hash = text;
  state.order_hash = order;
  state.criterion_hash = criterion;
  state.sentences_per_epoch = per_epoch;
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
  if (config.precision == Precision::bf16 && names_host(config.device) && cpu_isa() != Isa::avx512_bf16) {
    log_warning("this CPU has no bf16 arithmetic: precision = \"bf16\" saves memory here, not time");
  }
  if (initial) check_architecture(config, initial->config);
  Start start = {.mesh = mesh_of(config, group.size())};
  for (const std::string& line : summary(start.mesh, common_experts(config.model)))
    log_info("mesh: {}", line);
  log_info("{}", describe_exports(config.model));
  if (config.model.moe.experts > 0 && config.model.expert_counts().empty()) {
    log_warning(
        "moe.experts = {}, but of {} encoder and {} decoder blocks none has an MoE layer (moe.encoder_every "
        "= {}, "
        "moe.decoder_every = {}): the model is dense",
        config.model.moe.experts, config.model.encoder_layers, config.model.decoder_layers,
        config.model.moe.encoder_every, config.model.moe.decoder_every);
  }
  if (!config.model.expert_counts().empty() && !learns_routing(config.model.moe)) {
    log_warning(
        "moe.top_k = 1 with gates that sum to 1: every gate is 1, so only the balance and z-losses train the "
        "routers; moe.top_k = 2 or moe.gate_normalization = \"none\" lets the translation loss train them");
  }
  check_same_on_ranks(group, "a program", hash_text(hash_file("/proc/self/exe")));
  check_same_on_ranks(group, "settings", option_text(config));

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
  start.stream = std::make_unique<BatchStream>(*start.data->train, batch_options(config));
  // The memory of its batches then is at most that of training.
  if (start.data->valid) check_room(*start.data->valid, config.data.batch_tokens);
  take_text(start.state, start, config, options);

  start.model = model_for(config, *start.data);
  if (start.checkpoint) take_alignment(start.model, options.folder / kRunModel);
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
