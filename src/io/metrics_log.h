// What a run records as it goes: metrics.jsonl for scripts, TensorBoard event files for eyes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <nlohmann/json_fwd.hpp>

namespace chorus::inline io {

/// A file that grows by whole records: each reaches the system at once, and one that could not be written
/// whole is taken back. Error ("cannot write PATH: No space left on device") then; UserError when the path
/// cannot be written at all, or is a symbolic link.
class AppendFile {
 public:
  enum class Mode { append, create_new };
  AppendFile(std::filesystem::path path, Mode mode);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  void append(std::string_view record);

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

/// The longest line of a metrics.jsonl: what is longer is not written, and no record to those who read.
constexpr size_t kLongestRecord = size_t{64} << 20;

/// One JSON object per line. Opening a file that a crash left with half a line at its end cuts that off.
class JsonlWriter {
 public:
  explicit JsonlWriter(const std::filesystem::path& path);
  /// NaN and infinity become null; invalid UTF-8 becomes U+FFFD. Leaves a record beyond kLongestRecord out, with a
  /// warning.
  void write(const nlohmann::json& record);

 private:
  AppendFile file_;
};

/// Drops, for a run that goes on from update N, the records of `path` whose "update" is greater than N, as they will
/// be written again. Other lines stay as they are. A missing file is none; UserError for a symbolic link.
void drop_records_after(const std::filesystem::path& path, int64_t update);

/// Seconds since 1970.
double unix_time();

/// An event file `events.out.tfevents.*` in a folder that TensorBoard is pointed at.
class TensorBoardWriter {
 public:
  /// Makes a new file. A run that resumes gives the first step it will write: TensorBoard then drops what
  /// older files of the folder hold from that step on.
  explicit TensorBoardWriter(const std::filesystem::path& folder, int64_t first_step = 0,
                             double time = unix_time());
  /// Scalars of one step: tag ("train/loss") and value.
  void write(int64_t step, std::span<const std::pair<std::string, double>> scalars,
             double time = unix_time());
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  void write_event(std::string_view event);

  std::filesystem::path path_;
  AppendFile file_;
};

/// CRC-32C (Castagnoli), as TFRecord frames use it.
uint32_t crc32c(std::string_view bytes);

}  // namespace chorus::inline io
