#include "train/stages.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/ranks.h"
#include "formats/folder_files.h"
#include "io/run_layout.h"
#include "surgery/models.h"

#include "train/internal/initial_model.h"
#include "train/internal/interrupt.h"
#include "train/internal/start.h"

namespace chorus::inline train {
namespace fs = std::filesystem;

namespace {

bool is_folder_name(const std::string& name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
  };
  return !name.empty() && std::ranges::all_of(name, fits);
}

void check(const std::vector<StageConfig>& stages) {
  std::vector<std::string> before;
  for (const StageConfig& stage : stages) {
    if (!is_folder_name(stage.name)) {
      throw UserError(
          "train.stage: \"{}\" is no name for a stage: it names a folder, so take letters, digits, - and _",
          stage.name);
    }
    if (std::ranges::find(before, stage.name) != before.end())
      throw UserError("train.stage: two stages are called {}", stage.name);
    for (const std::string& init : stage.init) {
      if (std::ranges::find(before, init) == before.end()) {
        throw UserError("train.stage {}: init names \"{}\", which is no stage before it; these are: {}",
                        stage.name, init, before.empty() ? "none" : join(before, ", "));
      }
    }
    before.push_back(stage.name);
  }
}

/// Does `work` for a stage, whose name is put before an error's message.
void in_stage(const StageConfig& stage, const std::function<void()>& work) {
  try {
    work();
  } catch (const UserError& error) {
    throw UserError("train.stage {}: {}", stage.name, error.what());
  }
}

/// Sets the options that differ in a stage.
void apply(const StageConfig& stage, RunConfig& config) {
  config.train.stages.clear();
  Schema schema;
  describe(schema, config);
  for (const std::string& assignment : stage.set) schema.set(assignment);
}

/// Returns where the model is, or will be, that a stage begins with: the run of the one stage it names, or the folder
/// of those merged.
fs::path place_of_init(const StageConfig& stage, const RunOptions& options) {
  return options.folder / (stage.init.size() == 1 ? stage.init.front() : stage.name + ".init");
}

/// Whether the stage has a checkpoint, and so no longer needs what it began with.
bool has_begun(const StageConfig& stage, const RunOptions& options) {
  return !checkpoint_folders(options.folder / stage.name).empty();
}

/// Merges the models that a stage begins with, if it names several and has not begun. Merges them again if the result
/// is there already: an earlier start may have made it, and the models may have been trained further since.
void make_init(const StageConfig& stage, const RunOptions& options) {
  if (stage.init.size() < 2) return;
  const fs::path merged = place_of_init(stage, options);
  std::vector<fs::path> models;
  models.reserve(stage.init.size());
  for (const std::string& init : stage.init) models.push_back(options.folder / init);
  Group alone;
  first_rank_first(options.group ? *options.group : alone, "the merged model", [&] {
    if (fs::exists(merged) && has_begun(stage, options)) return;
    check_is_replaceable(merged);
    fs::remove_all(merged);
    merge_models(models, DenseWeights::average, merged);
  });
}

using Models = std::map<std::string, ModelDescription>;  // of each stage, as it begins

/// Describes what a stage begins with: the model at `init`, or what the stages before it will have made there. None:
/// it begins with a new model.
std::optional<ModelDescription> model_of_init(const StageConfig& stage, const Models& before,
                                              const std::string& init) {
  if (init.empty()) return std::nullopt;
  if (stage.init.empty()) return find_initial_model(init).description;
  std::vector<NamedModel> models;
  for (const std::string& name : stage.init) {
    const ModelDescription& model = before.at(name);
    models.push_back({.name = "stage " + name, .config = model.config, .vocabulary = model.vocabulary});
  }
  return ModelDescription{.config = models.size() == 1 ? models.front().config : merged_config(models),
                          .vocabulary = models.front().vocabulary};
}

RunOptions options_of(const StageConfig& stage, RunOptions options) {
  options.folder /= stage.name;
  return options;
}

/// Returns the settings of all stages, each checked as a run, so that a mistake is found before hours of training.
std::vector<RunConfig> check_stages(const RunConfig& config, const RunOptions& options) {
  const std::vector<StageConfig>& stages = config.train.stages;
  std::vector<RunConfig> settings(stages.size(), config);
  // What can be told before vocabularies and stores are made.
  for (size_t i = 0; i < stages.size(); ++i) in_stage(stages[i], [&] { apply(stages[i], settings[i]); });
  Models models;
  for (size_t i = 0; i < stages.size(); ++i) {
    const StageConfig& stage = stages[i];
    log_info("checking stage {}", stage.name);
    in_stage(stage, [&] {
      RunConfig& own = settings[i];
      if (!stage.init.empty() && own.train.init != config.train.init)
        throw UserError("it begins with {}, so train.init cannot be set", stage.init.front());
      const std::string init = stage.init.empty() ? own.train.init : place_of_init(stage, options).string();
      const std::optional<ModelDescription> initial = model_of_init(stage, models, init);
      if (init != config.train.init && initial) {  // then [model] and [moe] are of another model
        own.model = initial->config;
        apply(stage, own);
      }
      own.train.init = init;
      models.emplace(stage.name, check_start(own, options_of(stage, options), initial ? &*initial : nullptr));
    });
  }
  return settings;
}

}  // namespace

std::vector<RunConfig> stage_settings(const RunConfig& config) {
  check(config.train.stages);
  std::vector<RunConfig> settings;
  std::map<std::string, ModelConfig> models;  // of each stage
  for (const StageConfig& stage : config.train.stages) {
    RunConfig& own = settings.emplace_back(config);
    if (!stage.init.empty()) {
      own.train.init.clear();
      own.model = models.at(stage.init.front());
      std::vector<int64_t> experts(own.model.expert_counts().size());
      for (const std::string& init : stage.init)
        std::ranges::transform(experts, models.at(init).expert_counts(), experts.begin(), std::plus());
      if (!experts.empty()) own.model.set_expert_counts(experts);
    }
    apply(stage, own);
    if (stage.init.empty() && own.train.init != config.train.init && !own.train.init.empty()) {
      own.model = model_of(own.train.init);
      apply(stage, own);
    }
    models.emplace(stage.name, own.model);
  }
  return settings;
}

Ending train_stages(const RunConfig& config, const RunOptions& options) {
  const std::vector<StageConfig>& stages = config.train.stages;
  if (stages.empty()) return train_run(config, options);
  check(stages);
  const std::vector<RunConfig> settings = check_stages(config, options);
  Group alone;
  const Interrupt interrupt;  // of all stages: a signal may come as one ends
  Ending ending = Ending::done;
  for (size_t i = 0; i < stages.size(); ++i) {
    if (const std::optional<Ending> signalled = Interrupt::ending(options.group ? *options.group : alone))
      return *signalled;
    log_info("stage {} of {}: {}", i + 1, stages.size(), stages[i].name);
    make_init(stages[i], options);
    ending = train_run(settings[i], options_of(stages[i], options));
  }
  return ending;
}

fs::path last_run(const RunConfig& config, const fs::path& folder) {
  return config.train.stages.empty() ? folder : folder / config.train.stages.back().name;
}

}  // namespace chorus::inline train
