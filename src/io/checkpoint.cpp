#include "io/checkpoint.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <utility>

#include <fcntl.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file_guard.h"
#include "io/files.h"
#include "io/json.h"
#include "io/run_layout.h"
#include "io/safetensors.h"

#include "io/internal/file_calls.h"

namespace chorus::inline io {
namespace fs = std::filesystem;
using nlohmann::json;
namespace {

constexpr int kFormat = 1;
constexpr uint64_t kLargestManifest = uint64_t{16} << 20;  // bytes
constexpr std::string_view kBest = "best.json", kStepPrefix = kCheckpointPrefix;

class NewerFormat : public UserError {
 public:
  using UserError::UserError;
};

UserError damaged(const fs::path& path, std::string_view what) {
  return UserError("{}: damaged: {}", path.string(), what);
}

std::string checksum_entry(std::string_view text) {
  return fmt::format(",\"xxh3\":\"{}\"}}\n", hash_text(hash_bytes(text)));
}

/// An object that ends in the checksum of its own text.
std::string seal(const json& object) {
  std::string text = object.dump();
  text.pop_back();  // the closing brace
  return text + checksum_entry(text);
}

json read_sealed(const fs::path& path) {
  const std::string text = read_file(path, kLargestManifest);
  const size_t length = text.size() - std::min(text.size(), checksum_entry("").size());
  const std::string_view body = std::string_view(text).substr(0, length);
  if (std::string_view(text).substr(length) != checksum_entry(body)) {
    throw damaged(path, "it does not agree with its checksum");
  }
  return parse_json(text, path.string());
}

json describe_file(const fs::path& path) {
  if (!fs::is_regular_file(path)) throw Error("{}: a checkpoint holds files only", path.string());
  json entry = {{"bytes", fs::file_size(path)}};
  if (path.extension() == ".safetensors") {
    entry["header_xxh3"] = hash_text(SafetensorsFile(path).hash());
  } else {
    entry["xxh3"] = hash_text(hash_file(path));
  }
  return entry;
}

void verify_file(const fs::path& path, const json& entry) {
  const int64_t bytes = exactly<int64_t>(entry.at("bytes")).value_or(-1);
  std::error_code ignored;  // a file that is missing is named by whoever opens it
  const uintmax_t size = fs::file_size(path, ignored);
  if (!ignored && std::cmp_not_equal(size, bytes))
    throw damaged(path, fmt::format("{} bytes of {}", size, bytes));
  if (entry.contains("header_xxh3")) {
    const SafetensorsFile file(path);
    if (!file.verify() || hash_text(file.hash()) != entry.at("header_xxh3").get<std::string>()) {
      throw damaged(path, "its header is not the one that was written");
    }
  } else if (hash_text(hash_file(path)) != entry.at("xxh3").get<std::string>()) {
    throw damaged(path, "it does not agree with its checksum");
  }
}

void rename_or_throw(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) throw Error("cannot rename {} to {}: {}", from.string(), to.string(), error.message());
}

/// Renames first: a process killed in the middle of removing leaves no half checkpoint.
void remove_folder(const fs::path& folder) {
  const fs::path doomed = temporary_name(folder.parent_path());
  rename_or_throw(folder, doomed);
  std::error_code error;
  fs::remove_all(doomed, error);
  if (error) throw Error("cannot remove {}: {}", doomed.string(), error.message());
}

}  // namespace

Checkpoint read_checkpoint(const fs::path& folder) {
  const fs::path manifest_path = folder / kStateFile;
  const json manifest = read_sealed(manifest_path);
  try {
    const auto format = exactly<int64_t>(manifest.at("format"));
    if (format && *format != kFormat) {
      throw NewerFormat("{}: format {}; this chorus reads format {}: use the one that wrote it",
                        manifest_path.string(), *format, kFormat);
    }
    const auto step = exactly<int64_t>(manifest.at("step"));
    if (!format || !step) throw damaged(manifest_path, "its format or step is no whole number");
    for (const auto& [name, entry] : manifest.at("files").items()) {
      if (name.find('/') != std::string::npos) throw damaged(manifest_path, "a file outside of the folder");
      verify_file(folder / name, entry);
    }
    return {*step, folder, manifest.at("state").dump()};
  } catch (const json::exception&) {
    throw damaged(manifest_path, "an entry is missing or of another type");
  }
}

CheckpointStore::CheckpointStore(const fs::path& run_folder) : folder_(run_folder / kRunCheckpoints) {
  if (fs::exists(folder_)) remove_temporaries(folder_);
}

std::vector<int64_t> CheckpointStore::steps() const {
  std::vector<int64_t> steps;
  if (!fs::exists(folder_)) return steps;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kStepPrefix) || !entry.is_directory()) continue;
    int64_t step = 0;
    std::from_chars(name.data() + kStepPrefix.size(), name.data() + name.size(), step);
    if (entry.path() == folder_of(step)) steps.push_back(step);
  }
  std::ranges::sort(steps);
  return steps;
}

fs::path CheckpointStore::folder_of(int64_t step) const {
  return folder_ / fmt::format("{}{:08}", kStepPrefix, step);
}

void CheckpointStore::write(int64_t step, std::string_view state,
                            const std::function<void(const fs::path&)>& write_files) {
  std::error_code error;
  if (fs::create_directory(folder_, error)) sync_to_disk(folder_.parent_path());
  if (error) throw UserError("cannot make the folder {}: {}", folder_.string(), error.message());
  const fs::path growing = temporary_name(folder_);
  fs::create_directory(growing, error);
  if (error) throw Error("cannot make the folder {}: {}", growing.string(), error.message());
  try {
    write_files(growing);
    json files = json::object();
    for (const fs::directory_entry& entry : fs::directory_iterator(growing)) {
      sync_to_disk(entry.path());
      files[entry.path().filename().string()] = describe_file(entry.path());
    }
    const json manifest = {{"format", kFormat},
                           {"step", step},
                           {"files", std::move(files)},
                           {"state", parse_json(state, "the state of the run")}};
    write_file_atomically(growing / kStateFile, seal(manifest));
    const fs::path before = put_in_place(growing, folder_of(step));
    sync_to_disk(folder_of(step).parent_path());
    if (!before.empty()) fs::remove_all(before);
  } catch (...) {
    fs::remove_all(growing, error);
    throw;
  }
  written_ = step;
}

Checkpoint CheckpointStore::open(int64_t step) const {
  Checkpoint checkpoint = read_checkpoint(folder_of(step));
  if (checkpoint.step != step) {
    throw UserError("{}: this is the checkpoint of step {}; was the folder renamed?",
                    checkpoint.folder.string(), checkpoint.step);
  }
  return checkpoint;
}

std::optional<Checkpoint> CheckpointStore::latest_valid(std::vector<std::string>& complaints) const {
  std::vector<int64_t> newest_first = steps();
  std::ranges::reverse(newest_first);
  for (const int64_t step : newest_first) {
    try {
      return open(step);
    } catch (const NewerFormat&) {
      throw;
    } catch (const OutOfResources&) {  // the checkpoint may well be whole
      throw;
    } catch (const Error& error) {
      complaints.emplace_back(error.what());
    }
  }
  return std::nullopt;
}

void CheckpointStore::keep(size_t last, const std::vector<int64_t>& protected_steps) {
  std::vector<int64_t> known = steps();
  if (written_) std::erase_if(known, [this](int64_t step) { return step > *written_; });
  const std::optional<int64_t> best_step = best();
  const size_t spared = std::min(known.size(), std::max<size_t>(last, 1));
  known.resize(known.size() - spared);
  for (const int64_t step : known) {
    if (step != best_step && std::ranges::find(protected_steps, step) == protected_steps.end()) {
      remove_folder(folder_of(step));
    }
  }
}

void CheckpointStore::mark_best(int64_t step) {
  if (!fs::exists(folder_of(step))) throw Error("{} is not there to be the best", folder_of(step).string());
  write_file_atomically(folder_ / kBest, seal({{"step", step}}));
}

void CheckpointStore::forget_best() {
  fs::remove(folder_ / kBest);
}

std::optional<int64_t> CheckpointStore::best() const {
  const fs::path path = folder_ / kBest;
  if (!fs::exists(path)) return std::nullopt;
  const json best = read_sealed(path);
  const auto entry = best.find("step");
  const auto step = entry != best.end() ? exactly<int64_t>(*entry) : std::nullopt;
  if (!step) throw damaged(path, "it has no step");
  return fs::exists(folder_of(*step)) ? step : std::nullopt;
}

}  // namespace chorus::inline io
