#include "train/internal/run_folder.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/folder_files.h"
#include "io/files.h"
#include "io/places.h"
#include "io/run_layout.h"

namespace chorus::inline train {
namespace fs = std::filesystem;

namespace {

constexpr const char* kLock = ".lock";

/// An option that has another value than before.
struct Change {
  std::string option, text;  // "optim.learning_rate", "optim.learning_rate 0.001 -> 0.0005"
};

/// Whether two spellings of train.init name one place: to the file system, or as a run that lies beside the one in
/// `folder`, wherever both have been moved to.
bool names_same_init(const std::string& before, const std::string& now, const fs::path& folder) {
  if (before.empty() || now.empty()) return before == now;
  const auto canonical = [](const fs::path& path) { return without_end_slash(fs::weakly_canonical(path)); };
  const fs::path old_place = canonical(before), place = canonical(now);
  return old_place == place ||
         (place.parent_path() == canonical(folder).parent_path() && place.filename() == old_place.filename());
}

/// The changes that may_change() does not allow.
std::vector<Change> changes_of(RunConfig before, const RunConfig& now, const fs::path& folder) {
  if (names_same_init(before.train.init, now.train.init, folder)) before.train.init = now.train.init;
  std::map<std::string, std::string> old_values = option_values(before), new_values = option_values(now);
  std::vector<Change> found;
  for (const auto& [name, value] : new_values) {
    const std::string old_value = old_values.contains(name) ? old_values[name] : "(absent)";
    if (value != old_value && !may_change(name))
      found.push_back({name, fmt::format("{} {} -> {}", name, old_value, value)});
    old_values.erase(name);
  }
  for (const auto& [name, value] : old_values)
    found.push_back({name, fmt::format("{} {} -> (absent)", name, value)});
  return found;
}

std::string listed(const std::vector<Change>& changes) {
  std::vector<std::string> texts;
  texts.reserve(changes.size());
  for (const Change& change : changes) texts.push_back(change.text);
  return join(texts, ", ");
}

/// UserError where a rank has another folder under that name than rank 0, which has locked it.
void check_shared(const fs::path& folder, Group& group) {
  const fs::path lock = folder / kLock;  // which names rank 0's process and host
  const std::string found = is_there(lock) ? read_file(lock) : "";
  if (group.broadcast_text(found) != found) {
    throw UserError(
        "{} is not the run folder of rank 0: ranks share one, so --out must name a place that all hosts see",
        fs::absolute(folder).string());
  }
}

}  // namespace

RunFolder::RunFolder(fs::path path, Group& group) : path_(std::move(path)) {
  if (group.rank() == 0) {
    if (is_there(path_ / kConfigFile)) {
      throw UserError(
          "{0} is a model's folder: name another --out, where train.init = \"{0}\" begins with it",
          path_.string());
    }
    std::error_code error;
    made_ = fs::create_directories(path_, error);
    if (error) throw UserError("cannot make the run folder {}: {}", path_.string(), error.message());
    lock_.emplace(path_);
    check_is_replaceable(path_ / kRunModel);  // not after hours of training
  }
  group.barrier("taking the run folder");
  check_shared(path_, group);
}

RunFolder::~RunFolder() {
  if (!made_) return;
  std::error_code error;
  for (fs::directory_iterator it(path_, error), end; !error && it != end; it.increment(error))
    if (it->path().filename() != kLock) return;
  fs::remove(path_ / kLock, error);
  fs::remove(path_, error);
}

void check_settings(const RunConfig& config, const RunOptions& options, bool has_weights) {
  const fs::path path = options.folder / kRunFile;
  if (!fs::exists(path)) return;
  RunConfig before;
  Schema schema;
  describe(schema, before);
  schema.read_file(path);
  const std::vector<Change> changes = changes_of(before, config, options.folder);
  const std::string folder = options.folder.string();
  if (!has_weights && read_file(path) != option_text(before)) {
    throw UserError(
        "{} is there, and chorus, which keeps a run's settings under that name, has not written it: take "
        "another "
        "--out, or move it away",
        path.string());
  }
  if (!changes.empty() && !options.accept_changes) {
    throw UserError(
        "{} is a run with other settings: {}; give --accept-changes to go on with the new ones, or another "
        "--out",
        folder, listed(changes));
  }
  std::vector<Change> fixed;
  std::ranges::copy_if(changes, std::back_inserter(fixed),
                       [](const Change& c) { return is_fixed(c.option); });
  if (has_weights && !fixed.empty()) {
    throw UserError(
        "{} has begun, and --accept-changes cannot change the shapes of its weights or its vocabulary: {}; "
        "take another --out, where train.init = \"{}\" begins with its weights, vocabulary.add gives it "
        "languages, and `chorus grow` or `prune` first another number of experts",
        folder, listed(fixed), folder);
  }
  for (const Change& change : changes) log_warning("changed setting: {}", change.text);
}

void write_settings(const RunConfig& config, const fs::path& run) {
  write_file_atomically(run / kRunFile, option_text(config));
}

}  // namespace chorus::inline train
