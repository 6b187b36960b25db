// Files: whole reads, writes that are either whole or absent, memory maps, content hashes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace chorus {

/// The bytes of a regular file. UserError names the path when it is missing, a directory or unreadable.
std::string read_file(const std::filesystem::path& path);

/// Makes `path` hold what `write` puts out, or leaves it as it was: a temporary file beside it, fsync, rename, fsync of
/// the folder. Error ("cannot write PATH: No space left on device") on failure, with the temporary file removed.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// A file being written in pieces; the same promise as write_file_atomically once commit() has returned. Destroyed before
/// commit(), it leaves nothing behind.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, size_t bytes);
  void write_at(uint64_t offset, const void* data, size_t bytes);
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

/// A whole file mapped read-only. Empty files map to an empty span.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);  // UserError as read_file
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// XXH3-64 of bytes; of a file, read in pieces.
uint64_t hash_bytes(std::span<const std::byte> bytes);
uint64_t hash_bytes(std::string_view bytes);
uint64_t hash_file(const std::filesystem::path& path);
/// Sixteen hexadecimal digits.
std::string hash_text(uint64_t hash);

/// Only one process at a time may hold the lock of a folder (flock on `folder/.lock`; gone when the process dies).
/// UserError naming the holder's process id when another one has it.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace chorus
