#include "train/run_folder.h"

#include <map>

#include "chorus/base/error.h"
#include "chorus/base/files.h"
#include "chorus/base/log.h"

namespace chorus {

namespace {

std::map<std::string, std::string> values_of(RunConfig config) {
  Schema schema;
  describe(schema, config);
  std::map<std::string, std::string> values;
  for (auto& [name, value] : schema.values()) {
    values[name] = value;
  }
  return values;
}

/// "optim.learning_rate 0.001 -> 0.0005" for each option that differs and matters.
std::vector<std::string> differences(const RunConfig& before, const RunConfig& now) {
  std::map<std::string, std::string> old_values = values_of(before), new_values = values_of(now);
  std::vector<std::string> found;
  for (const auto& [name, value] : new_values) {
    const std::string old_value = old_values.contains(name) ? old_values[name] : "(absent)";
    if (value != old_value && !may_change(name))
      found.push_back(fmt::format("{} {} -> {}", name, old_value, value));
    old_values.erase(name);
  }
  for (const auto& [name, value] : old_values) {
    found.push_back(fmt::format("{} {} -> (absent)", name, value));
  }
  return found;
}

}  // namespace

void claim_settings(const RunConfig& config, const RunOptions& options) {
  const std::filesystem::path path = options.folder / "run.toml";
  if (std::filesystem::exists(path)) {
    RunConfig before;
    Schema schema;
    describe(schema, before);
    schema.read_file(path);
    const std::vector<std::string> changes = differences(before, config);
    if (!changes.empty() && !options.accept_changes) {
      throw UserError(
          "{} is a run with other settings: {}; give --accept-changes to go on with the new ones, or another "
          "--out",
          options.folder.string(), fmt::join(changes, ", "));
    }
    for (const std::string& change : changes) {
      log_warning("changed setting: {}", change);
    }
  }
  write_file_atomically(path, settings_text(config));
}

void check_shared(const std::filesystem::path& folder, Group& group) {
  const std::filesystem::path lock = folder / ".lock";  // which names rank 0's process and host
  std::error_code ignored;
  const std::string found = std::filesystem::exists(lock, ignored) ? read_file(lock) : "";
  if (group.gather_text(found).front() != found) {
    throw UserError(
        "{} is not the run folder of rank 0: ranks share one, so --out must name a place that all hosts see",
        std::filesystem::absolute(folder).string());
  }
}

std::string settings_text(RunConfig config) {
  Schema schema;
  describe(schema, config);
  return schema.dump();
}

}  // namespace chorus
