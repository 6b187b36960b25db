// Lines of a text file, plain, gzip or zstd, streamed in bounded memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace chorus::inline data {

/// A line longer than this is reported, as soon as it is that long, and not held.
inline constexpr size_t kMaxLineBytes = 64 << 10;

/// The first bytes of what is compressed.
inline constexpr std::string_view kGzipMagic = "\x1F\x8B", kZstdMagic = "\x28\xB5\x2F\xFD";

/// Streams the lines of a file; "-" is standard input. The format is told by the first bytes, not by the
/// name: gzip (also of several members), zstd (also of several frames) or plain. A line ends with LF or CRLF,
/// the last one also with the end of the file; a UTF-8 byte order mark at the start is dropped. Every other
/// byte, NUL included, is handed on as it is.
///
/// Memory: about 200 KiB plus `max_bytes`, and the decompressor's window (zstd: at most 128 MiB), whatever
/// the file.
///
/// UserError names the file (and the line, once reading) when it is missing, a directory, unreadable,
/// truncated or damaged; when it is called .gz or .zst and is not; when it is UTF-16 or UTF-32, an archive,
/// or compressed in another way; when all of it is one line with CR inside, as files with CR ends are; or
/// when a line is longer than 256 MiB. What is in a pipe is told by what there is at first, without waiting
/// for more.
class LineReader {
 public:
  explicit LineReader(std::filesystem::path path, size_t max_bytes = kMaxLineBytes);
  ~LineReader();
  LineReader(LineReader&&) noexcept;
  LineReader& operator=(LineReader&&) noexcept;

  /// Moves to the next line; false when there is none.
  bool next();
  /// Whether next() has its answer without waiting for a pipe or terminal that may send more. Reads what is
  /// there.
  bool ready() { return gather(false); }

  /// The line without its end; valid until next() or ready(). Of an over-long line, its first `max_bytes`
  /// bytes.
  [[nodiscard]] std::string_view text() const { return text_; }
  [[nodiscard]] bool over_long() const { return over_long_; }
  /// Returns the number of the current line, from 1. After the last next(): how many lines there are.
  [[nodiscard]] int64_t number() const { return number_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

  class Source;  // where bytes come from: the file, or a decompressor over it

 private:
  bool fill(bool wait);
  void hold(std::string_view piece);
  /// Reads until the buffer holds the rest of the next line, or the file its end; without `wait` no further
  /// than it can. False: not yet.
  bool gather(bool wait);
  [[noreturn]] void refuse_lone_returns() const;

  std::filesystem::path path_;
  size_t max_bytes_;
  std::unique_ptr<Source> source_;
  std::vector<char> buffer_;
  size_t begin_ = 0, end_ = 0;  // of what is not yet consumed of buffer_
  bool at_end_ = false;         // of the file
  std::string line_;            // the beginning of a line that spans several fillings of the buffer,
  size_t length_ = 0;           // how long it is, held or not,
  bool taken_ = true;           // and whether next() has handed it on
  std::string_view text_;
  bool over_long_ = false;
  bool skipping_ = false;  // the rest of an over-long line
  uint64_t skipped_ = 0;   // of it
  int64_t number_ = 0;
  int64_t returns_ = 0;  // CR inside the first line
};

}  // namespace chorus::inline data
