// A run's checkpoints: folders that are whole or not there.
//
//   RUN/checkpoints/step-00000120/model.safetensors, ... any files of the trainer's, and state.json, written
//   last:
//     {"format": 1, "step": 120, "state": the trainer's own,
//      "files": {"model.safetensors": {"bytes", "header_xxh3"}, "other": {"bytes", "xxh3"}}, "xxh3"}
//   RUN/checkpoints/best.json: {"step": 120, "xxh3"}
//
// A folder grows under a temporary name, every file in it is synced to disk, and one rename makes it a
// checkpoint; kill -9 or a full disk at any moment leaves the checkpoints that were there. Every byte is
// covered by a checksum: the last entry "xxh3" of a JSON file covers the text before it, "xxh3" a whole file,
// and "header_xxh3" the header of a safetensors file, which holds the checksum of each of its tensors (see
// safetensors.h), so that such files are not read again after writing.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline io {

/// The file that makes a folder a checkpoint.
inline constexpr const char* kStateFile = "state.json";

/// A checkpoint that was read to the last byte and found as it was written.
struct Checkpoint {
  int64_t step = 0;
  std::filesystem::path folder;
  std::string state;  // JSON
};

/// Checks a checkpoint folder, wherever it lies, in one pass over its bytes. UserError naming the file (and
/// the tensor) that is missing or damaged, or saying that a newer chorus wrote it.
Checkpoint read_checkpoint(const std::filesystem::path& folder);

/// The checkpoints of a run, for the one process that holds the run folder's FolderLock; others use
/// read_checkpoint.
class CheckpointStore {
 public:
  /// Removes what killed writers left in RUN/checkpoints.
  explicit CheckpointStore(const std::filesystem::path& run_folder);

  [[nodiscard]] std::vector<int64_t> steps() const;  // ascending; not verified
  [[nodiscard]] std::filesystem::path folder_of(int64_t step) const;

  /// Writes the checkpoint of a step, in place of one that is there; makes RUN/checkpoints if it is missing.
  /// `write_files(folder)` puts its files, no folders, into the given folder; `state` is JSON. Error when
  /// that throws or the disk is full; the checkpoints are then as they were. UserError when RUN is not there.
  void write(int64_t step, std::string_view state,
             const std::function<void(const std::filesystem::path& folder)>& write_files);

  /// read_checkpoint of one step.
  [[nodiscard]] Checkpoint open(int64_t step) const;
  /// The newest that is whole. Each newer one that is not adds a line to `complaints`; its folder stays.
  /// Nothing when none is whole: with complaints, do not start afresh unasked. UserError when a newer chorus
  /// wrote the newest whole one; Error when memory or descriptors do not suffice to look.
  [[nodiscard]] std::optional<Checkpoint> latest_valid(std::vector<std::string>& complaints) const;

  /// Removes all but the `last` (at least one) newest, the best, and `protected_steps`. Steps after the one
  /// written last, which a run left behind when it resumed at an earlier one, are not counted nor removed.
  void keep(size_t last, const std::vector<int64_t>& protected_steps = {});

  /// Remembers a step as the best, and keeps it. Error when it is not there.
  void mark_best(int64_t step);
  /// Forgets which step is the best: where best.json is damaged, say.
  void forget_best();
  /// Nothing when none was marked or it is gone. UserError when best.json is damaged.
  [[nodiscard]] std::optional<int64_t> best() const;

 private:
  std::filesystem::path folder_;
  std::optional<int64_t> written_;  // the last step that write() wrote
};

}  // namespace chorus::inline io
