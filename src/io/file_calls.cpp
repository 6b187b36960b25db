#include "io/internal/file_calls.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/again.h"
#include "base/error.h"
#include "io/files.h"
#include "io/places.h"

namespace chorus::inline io {
namespace fs = std::filesystem;
namespace {

std::string reason(int error) {
  return std::generic_category().message(error);
}

}  // namespace

void fail_to_read(const fs::path& path, int error) {
  if (error == ENOMEM || error == EMFILE || error == ENFILE)
    throw OutOfResources("cannot read {}: {}", path.string(), reason(error));
  if (error == EIO) throw Error("cannot read {}: {}", path.string(), reason(error));
  throw UserError("cannot read {}: {}", path.string(), reason(error));
}

bool is_wrong_place(int error) {
  constexpr int kWrong[] = {ENOENT, ENOTDIR,      EISDIR, EACCES,    EPERM, EROFS,
                            EEXIST, ENAMETOOLONG, ELOOP,  ENOTEMPTY, EBUSY};
  return std::ranges::find(kWrong, error) != std::end(kWrong);
}

void fail_to_write(const fs::path& path, int error) {
  if (is_wrong_place(error)) {
    throw UserError("cannot write {}: {}", path.string(), reason(error));
  }
  throw Error("cannot write {}: {}", path.string(), reason(error));
}

bool is_there(const fs::path& path) {
  struct stat info = {};
  if (::stat(path.c_str(), &info) == 0) return true;
  if (errno != ENOENT && errno != ENOTDIR) fail_to_read(path, errno);
  return false;
}

void check_can_write(const fs::path& path) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (::access(folder.c_str(), W_OK | X_OK) != 0) fail_to_write(path, errno);
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory)
    fail_to_read(folder, error.value());
  std::ranges::sort(names);
  return names;
}

OpenFile open_regular_file(const fs::path& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
  Descriptor fd(again([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }));
  struct stat info = {};
  if (fd.get() < 0 || ::fstat(fd.get(), &info) != 0) fail_to_read(path, errno);
  if (S_ISDIR(info.st_mode)) fail_to_read(path, EISDIR);
  if (!S_ISREG(info.st_mode)) throw UserError("cannot read {}: not a regular file", path.string());
  return {Descriptor(fd.release()), static_cast<size_t>(info.st_size)};
}

size_t read_some(int fd, char* data, size_t bytes, const fs::path& path) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n = again([&] { return ::read(fd, data + done, bytes - done); });
    if (n == 0) break;
    if (n < 0) fail_to_read(path, errno);
    done += static_cast<size_t>(n);
  }
  return done;
}

void write_all_at(int fd, uint64_t offset, const void* data, size_t bytes, const fs::path& path) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = again([&] { return ::pwrite(fd, next, bytes, static_cast<off_t>(offset)); });
    if (n < 0) fail_to_write(path, errno);
    next += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<size_t>(n);
  }
}

fs::path put_in_place(const fs::path& whole, const fs::path& place) {
  if (::renameat2(AT_FDCWD, whole.c_str(), AT_FDCWD, place.c_str(), RENAME_EXCHANGE) == 0) return whole;
  // Nothing is there yet; or the file system cannot exchange names, and for a moment neither is in place.
  fs::path before = fs::exists(place) ? temporary_name(place.parent_path()) : fs::path();
  if (!before.empty() && ::rename(place.c_str(), before.c_str()) != 0) fail_to_write(place, errno);
  if (::rename(whole.c_str(), place.c_str()) != 0) {
    const int error = errno;
    if (!before.empty()) ::rename(before.c_str(), place.c_str());
    fail_to_write(place, error);
  }
  return before;
}

int sync(int fd) {
  return again([fd] { return ::fsync(fd); });
}

int open_own_file(const fs::path& path, int flags) {
  // O_NONBLOCK: opening a pipe that nobody reads would wait for ever.
  Descriptor fd(
      again([&] { return ::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666); }));
  struct stat info = {};
  const int error = errno;
  const int seen = fd.get() < 0 ? ::lstat(path.c_str(), &info) : ::fstat(fd.get(), &info);
  if (seen == 0 && S_ISLNK(info.st_mode))
    throw UserError("cannot write {}: it is a symbolic link, which is not followed here; remove it",
                    path.string());
  if (seen == 0 && !S_ISREG(info.st_mode))
    throw UserError("cannot write {}: not a regular file", path.string());
  if (fd.get() < 0 || seen != 0) fail_to_write(path, fd.get() < 0 ? error : errno);
  return fd.release();
}

}  // namespace chorus::inline io
