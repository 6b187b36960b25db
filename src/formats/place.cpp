#include "formats/place.h"

#include <algorithm>
#include <charconv>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "formats/folder_files.h"
#include "formats/parts.h"
#include "io/files.h"
#include "io/places.h"
#include "io/run_layout.h"

namespace chorus::inline formats {
namespace fs = std::filesystem;
namespace {

bool has(const fs::path& folder, const char* file) {
  return is_there(folder / file);
}

/// Returns the newest of a run's checkpoints that describe themselves; empty: none.
fs::path newest_checkpoint(const fs::path& run) {
  fs::path newest;
  for (const fs::path& folder : checkpoint_folders(run))
    if (has(folder, kConfigFile)) newest = folder;
  return newest;
}

/// What run.toml, which chorus wrote, says of a key: its value's text.
std::string setting(const std::string& toml, const std::string& key) {
  const std::string line = "\n" + key + " = ";
  const size_t at = toml.find(line), begin = at + line.size();
  return at == std::string::npos ? "" : toml.substr(begin, toml.find('\n', begin) - begin);
}

/// When a run that has no checkpoint yet will have one.
std::string first_checkpoint(const fs::path& run) {
  if (!has(run, kRunFile)) return "it has not made its first update yet";
  const std::string toml = read_file(run / kRunFile);
  const auto number = [&](const char* key) {
    const std::string text = setting(toml, key);
    int64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
  };
  std::vector<int64_t> updates = {number("checkpoint_every")};
  if (toml.find("\n[[data.valid]]\n") != std::string::npos) updates.push_back(number("every"));
  std::erase(updates, 0);
  const std::string end =
      fmt::format("when it ends (train.duration = {}) or is interrupted", setting(toml, "duration"));
  return updates.empty() ? fmt::format("the first comes {}", end)
                         : fmt::format("the first comes at update {}, or {}", std::ranges::min(updates), end);
}

/// The runs of [[train.stage]] in a folder, by name.
std::vector<std::string> runs_in(const fs::path& dir) {
  std::vector<std::string> names = names_in(dir);
  std::erase_if(names, [&](const std::string& name) { return !has(dir / name, kRunFile); });
  return names;
}

}  // namespace

ModelPlace find_model(const fs::path& dir) {
  const auto whole = [](const fs::path& folder) -> ModelPlace {
    if (!is_in_parts(folder)) return {.weights = folder, .description = folder};
    throw UserError(
        "{0} is a checkpoint in parts (train.checkpoint_part_size), and no model yet: chorus import {0} "
        "--out FOLDER "
        "makes one of it",
        folder.string());
  };
  for (const fs::path& folder : {dir, dir / kRunModel}) {
    if (has(folder, kConfigFile)) return whole(folder);
  }
  if (!is_there(dir)) throw UserError("{}: no such folder", dir.string());
  if (const fs::path checkpoint = newest_checkpoint(dir); !checkpoint.empty()) return whole(checkpoint);
  if (has(dir, kWeightsFile)) {
    const fs::path model = fs::canonical(dir).parent_path().parent_path() / kRunModel;
    if (has(model, kConfigFile)) return {.weights = dir, .description = model};
  }
  if (has(dir, kRunFile) || has(dir, ".lock"))
    throw UserError("{} is a run that has no checkpoint yet: {}", dir.string(), first_checkpoint(dir));
  if (const std::vector<std::string> runs = runs_in(dir); !runs.empty())
    throw UserError("{} is no run, but has these in it: {}; name one", dir.string(), join(runs, ", "));
  throw UserError("{} is no model: it has neither {} nor model/{}", dir.string(), kConfigFile, kConfigFile);
}

}  // namespace chorus::inline formats
