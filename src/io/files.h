// Files: whole reads, writes that are either whole or absent, memory maps, content hashes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace chorus::inline io {

/// Whether an errno of opening, writing or removing says that a name is wrong or leads nowhere: the user's
/// mistake, and not a failing disk.
[[nodiscard]] bool is_wrong_place(int error);

/// The bytes of a regular file. UserError names the path when it is missing, a directory, unreadable, or
/// larger than 256 MiB (kLargestRead of file_guard.h).
std::string read_file(const std::filesystem::path& path);

/// `path` without a slash at its end: filename() and parent_path() are then of the folder that it names.
[[nodiscard]] std::filesystem::path without_end_slash(const std::filesystem::path& path);

/// Makes `path` hold what `write` puts out, or leaves it as it was: a temporary file beside it, fsync,
/// rename, fsync of the folder. What a process that was killed meanwhile left, the next such write into the folder
/// removes. On failure the temporary file is removed and Error says why ("cannot write
/// PATH: No space left on device"); UserError when the place is wrong (no such folder, read-only, not
/// permitted, a folder by that name).
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// A file being written in pieces; the same promise as write_file_atomically once commit() has returned.
/// Destroyed before commit(), it leaves nothing behind.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  void write(const void* data, size_t bytes);  // after what write() wrote before
  void write_at(uint64_t offset, const void* data, size_t bytes);
  void commit();  // once; nothing may be written after it

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1, lock_ = -1;
};

/// A file that several processes write at once, each its own bytes; one of them makes it first, with its
/// size. Errors as write_file_atomically. For files in a folder that is to appear whole, under a name that
/// nobody looks for.
class SharedFile {
 public:
  static void make(const std::filesystem::path& path, uint64_t bytes);
  explicit SharedFile(std::filesystem::path path);
  ~SharedFile();
  SharedFile(const SharedFile&) = delete;
  SharedFile& operator=(const SharedFile&) = delete;
  void write_at(uint64_t offset, const void* data, size_t bytes);
  void sync();

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

/// A folder being filled under a temporary name beside `path`; destroyed before commit(), it is removed, and what a
/// killed process left by the next one that is made there.
class AtomicFolder {
 public:
  /// Throws where something is at a path that is not to be replaced.
  using Check = std::function<void(const std::filesystem::path&)>;
  /// Makes the folders that it lies in. UserError when the place is wrong. `check` is asked now, and again at commit().
  AtomicFolder(const std::filesystem::path& path, Check check);
  ~AtomicFolder();
  AtomicFolder(const AtomicFolder&) = delete;
  AtomicFolder& operator=(const AtomicFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& temporary() const { return temporary_; }
  /// Puts it in the place of `path`, which then is removed: at any moment one of them is there, whole, but for an
  /// instant on a file system that cannot exchange two names (NFS, say).
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  Check check_;
  int lock_ = -1;  // says to others that what is in the temporary folder is not abandoned
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

/// The same hash of bytes that come in pieces.
class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  void update(std::span<const std::byte> bytes);
  [[nodiscard]] uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Makes what was created, renamed or removed inside a folder survive a power cut; for a file, its bytes.
void sync_to_disk(const std::filesystem::path& path);

/// A name inside `folder` that nothing has yet, for a file or folder that is to be renamed when it is whole.
std::filesystem::path temporary_name(const std::filesystem::path& folder);
/// Removes what dead processes left in `folder` under such names. Only for who holds the folder's lock: the
/// temporary files of living processes go too.
void remove_temporaries(const std::filesystem::path& folder);

/// Only one process at a time may hold the lock of a folder (flock on `folder/.lock`; gone when the process
/// dies). UserError naming the holder's process id and host when another one has it, when the folder
/// cannot be written, or when `.lock` is a symbolic link or holds what no FolderLock writes.
class FolderLock {
 public:
  explicit FolderLock(const std::filesystem::path& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace chorus::inline io
