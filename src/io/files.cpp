#include "io/files.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/again.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "io/file_guard.h"

#include "io/internal/file_calls.h"

namespace chorus::inline io {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kTemporaryPrefix = ".chorus-tmp-";

void sync_folder_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  sync_to_disk(parent.empty() ? fs::path(".") : parent);
}

// What AtomicFile and AtomicFolder fill lies beside what others own, so no FolderLock says whether their process lives.
// It holds a lock on the file or folder itself.
constexpr std::string_view kHeldSuffix = ".held";

/// Whether the lock was free, or the file system has none.
bool lock(int fd) {
  return ::flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
}

/// Removes what killed processes left; what cannot be looked at or removed stays.
void remove_abandoned(const fs::path& parent) {
  std::error_code error;
  for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kTemporaryPrefix) || !name.ends_with(kHeldSuffix)) continue;
    const Descriptor fd(
        again([&] { return ::open(it->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); }));
    std::error_code ignored;
    if (fd.get() >= 0 && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) fs::remove_all(it->path(), ignored);
  }
}

// A new file or folder, open; -1 and EEXIST where it is to be tried again under another name. Where it fails nothing is
// left.

int make_file(const fs::path& path) {
  return again([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
}

int make_folder(const fs::path& path) {
  if (::mkdir(path.c_str(), 0777) != 0) return -1;
  const int fd = again([&] { return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW); });
  if (fd >= 0) return fd;
  const int error = errno;
  ::rmdir(path.c_str());
  errno = error == ENOENT ? EEXIST : error;  // ENOENT: remove_abandoned() of another process was faster
  return -1;
}

/// Makes what is to become `place`, beside it and locked, and sets its name. The lock is the descriptor's.
int hold_new(const fs::path& place, fs::path& name, int (*make)(const fs::path&)) {
  const fs::path parent = place.parent_path();
  remove_abandoned(parent.empty() ? "." : parent);
  for (;;) {
    name = temporary_name(parent);
    name += kHeldSuffix;
    Descriptor fd(make(name));
    if (fd.get() < 0 && errno != EEXIST) fail_to_write(place, errno);
    if (fd.get() < 0 || !lock(fd.get())) continue;
    // Until it was locked another process may have taken it for abandoned.
    struct stat open = {}, named = {};
    if (::fstat(fd.get(), &open) != 0 || (::lstat(name.c_str(), &named) != 0 && errno != ENOENT)) {
      const int error = errno;
      std::remove(name.c_str());
      fail_to_write(place, error);
    }
    if (named.st_dev == open.st_dev && named.st_ino == open.st_ino) return fd.release();
  }
}

}  // namespace

fs::path without_end_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

// ---- reading

std::string read_file(const fs::path& path) {
  return read_file(path, kLargestRead);
}

std::string read_file(const fs::path& path, uint64_t most) {
  const OpenFile file = open_regular_file(path);
  const auto check_size = [&](uint64_t size) {
    if (size > most)
      throw UserError("cannot read {}: more than the {} that a file of its kind has", path.string(),
                      human_bytes(most));
  };
  check_size(file.size);
  std::string bytes;
  constexpr size_t kPiece = 1 << 16;
  // One more than the size, to see the end in the first turn; on from there for a file that grows or has no
  // size (/proc).
  size_t want = file.size + 1;
  for (;;) {
    const size_t have = bytes.size();
    bytes.resize(have + want);
    const size_t n = read_some(file.fd.get(), bytes.data() + have, want, path);
    check_size(have + n);
    if (n < want) {
      bytes.resize(have + n);
      return bytes;
    }
    want = kPiece;
  }
}

// ---- writing

fs::path temporary_name(const fs::path& folder) {
  static std::atomic<uint64_t> counter = 0;
  for (;;) {
    fs::path name = folder / fmt::format("{}{}-{}", kTemporaryPrefix, ::getpid(), counter++);
    struct stat info = {};
    if (::lstat(name.c_str(), &info) != 0)
      return name;  // whatever the error is, creating it will say it better
  }
}

void remove_temporaries(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    if (it->path().filename().string().starts_with(kTemporaryPrefix)) found.push_back(it->path());
  }
  if (error) fail_to_read(folder, error.value());
  for (const fs::path& path : found) {
    fs::remove_all(path, error);
    if (error) throw Error("cannot remove {}: {}", path.string(), error.message());
  }
}

void sync_to_disk(const fs::path& path) {
  const Descriptor fd(again([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
  if (fd.get() < 0) fail_to_write(path, errno);
  // Some file systems have no fsync of folders and say EINVAL.
  if (sync(fd.get()) != 0 && errno != EINVAL) fail_to_write(path, errno);
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes.data(), bytes.size());
  file.commit();
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  std::error_code ignored;  // where nobody can look, nobody can write
  const fs::file_status status = fs::symlink_status(path_, ignored);
  if (fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status)) {
    throw UserError(
        "cannot write {}: it is {}", path_.string(),
        fs::is_symlink(status) ? "a symbolic link: name the file that it leads to" : "no regular file");
  }
  fd_ = hold_new(path_, temporary_, make_file);
}

AtomicFile::~AtomicFile() {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  for (const int fd : {fd_, lock_}) {
    if (fd >= 0) ::close(fd);
  }
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = again([&] { return ::write(fd_, next, bytes); });
    if (n < 0) fail_to_write(path_, errno);
    next += n;
    bytes -= static_cast<size_t>(n);
  }
}

void AtomicFile::write_at(uint64_t offset, const void* data, size_t bytes) {
  write_all_at(fd_, offset, data, bytes, path_);
}

void AtomicFile::commit() {
  if (sync(fd_) != 0) fail_to_write(path_, errno);
  // Until it has its name it stays locked.
  lock_ = again([&] { return ::fcntl(fd_, F_DUPFD_CLOEXEC, 0); });
  if (lock_ < 0) fail_to_write(path_, errno);
  // Network file systems report a full disk here at the latest; EINTR says nothing about the bytes, which are
  // synced.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail_to_write(path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_to_write(path_, errno);
  temporary_.clear();
  ::close(std::exchange(lock_, -1));
  sync_folder_of(path_);
}

void SharedFile::make(const fs::path& path, uint64_t bytes) {
  const Descriptor fd(
      again([&] { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }));
  if (fd.get() < 0 || again([&] { return ::ftruncate(fd.get(), static_cast<off_t>(bytes)); }) != 0)
    fail_to_write(path, errno);
}

SharedFile::SharedFile(fs::path path)
    : path_(std::move(path)),
      fd_(again([this] { return ::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW); })) {
  if (fd_ < 0) fail_to_write(path_, errno);
}

SharedFile::~SharedFile() {
  ::close(fd_);
}

void SharedFile::write_at(uint64_t offset, const void* data, size_t bytes) {
  write_all_at(fd_, offset, data, bytes, path_);
}

void SharedFile::sync() {
  if (chorus::sync(fd_) != 0) fail_to_write(path_, errno);
}

AtomicFolder::AtomicFolder(const fs::path& path, Check check)
    : path_(without_end_slash(path)), check_(std::move(check)) {
  check_(path_);
  std::error_code told_below;
  if (path_.has_parent_path()) fs::create_directories(path_.parent_path(), told_below);
  lock_ = hold_new(path_, temporary_, make_folder);
}

AtomicFolder::~AtomicFolder() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);  // after commit(): what was there before
  ::close(lock_);
  if (error) log_warning("cannot remove {}: {}; remove it yourself", temporary_.string(), error.message());
}

void AtomicFolder::commit() {
  sync_to_disk(temporary_);
  check_(path_);
  temporary_ = put_in_place(temporary_, path_);
  sync_folder_of(path_);
}

uint64_t hash_file(const fs::path& path) {
  const OpenFile file = open_regular_file(path);
  std::vector<char> piece(1 << 20);
  Hasher hasher;
  for (;;) {
    const size_t n = read_some(file.fd.get(), piece.data(), piece.size(), path);
    hasher.update(std::as_bytes(std::span(piece.data(), n)));
    if (n < piece.size()) return hasher.digest();
  }
}

}  // namespace chorus::inline io
