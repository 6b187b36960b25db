#include "chorus/train/stages.h"

#include <algorithm>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "chorus/base/error.h"
#include "chorus/base/log.h"
#include "chorus/comm/world.h"
#include "chorus/surgery/models.h"

namespace chorus {

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
                        stage.name, init,
                        before.empty() ? "none" : fmt::format("{}", fmt::join(before, ", ")));
      }
    }
    before.push_back(stage.name);
  }
}

/// Where the model is that a stage begins with: the folder of the one stage it names, or of those merged.
std::filesystem::path initial_model(const StageConfig& stage, const RunOptions& options) {
  if (stage.init.size() == 1) return options.folder / stage.init.front();
  std::filesystem::path merged = options.folder / (stage.name + ".init");
  std::vector<std::filesystem::path> models;
  models.reserve(stage.init.size());
  for (const std::string& init : stage.init) models.push_back(options.folder / init);
  Group alone;
  first_alone(options.group ? *options.group : alone, "the merged model", [&] {
    if (!std::filesystem::exists(merged)) merge_models(models, DenseWeights::average, merged);
  });
  return merged;
}

/// Of a stage, but for train.init.
RunConfig settings_of(const StageConfig& stage, RunConfig config) {
  config.train.stages.clear();
  Schema schema;
  describe(schema, config);
  for (const std::string& assignment : stage.set) {
    try {
      schema.set(assignment);
    } catch (const UserError& error) {
      throw UserError("train.stage {}: {}", stage.name, error.what());
    }
  }
  return config;
}

}  // namespace

Ending train_stages(const RunConfig& config, const RunOptions& options) {
  const std::vector<StageConfig>& stages = config.train.stages;
  if (stages.empty()) return train(config, options);
  check(stages);
  std::vector<RunConfig> settings;  // of all, so that a mistake is found before hours of training
  settings.reserve(stages.size());
  for (const StageConfig& stage : stages) settings.push_back(settings_of(stage, config));
  Ending ending = Ending::done;
  for (size_t i = 0; i < stages.size() && ending != Ending::interrupted; ++i) {
    log_info("stage {} of {}: {}", i + 1, stages.size(), stages[i].name);
    if (!stages[i].init.empty()) settings[i].train.init = initial_model(stages[i], options).string();
    RunOptions own = options;
    own.folder /= stages[i].name;
    ending = train(settings[i], own);
  }
  return ending;
}

std::filesystem::path last_run(const RunConfig& config, const std::filesystem::path& folder) {
  return config.train.stages.empty() ? folder : folder / config.train.stages.back().name;
}

}  // namespace chorus
