#include "io/files.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
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

}  // namespace

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
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
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
  while (fd_ < 0) {
    temporary_ = temporary_name(path_.parent_path());
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST && errno != EINTR) fail_to_write(path_, errno);
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, size_t bytes) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(fd_, next, bytes);
    if (n < 0 && errno != EINTR) fail_to_write(path_, errno);
    if (n > 0) {
      next += n;
      bytes -= static_cast<size_t>(n);
    }
  }
}

void AtomicFile::write_at(uint64_t offset, const void* data, size_t bytes) {
  write_all_at(fd_, offset, data, bytes, path_);
}

void AtomicFile::commit() {
  if (sync(fd_) != 0) fail_to_write(path_, errno);
  // Network file systems report a full disk here at the latest; EINTR says nothing about the bytes, which are
  // synced.
  if (::close(std::exchange(fd_, -1)) != 0 && errno != EINTR) fail_to_write(path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) fail_to_write(path_, errno);
  temporary_.clear();
  sync_folder_of(path_);
}

void SharedFile::make(const fs::path& path, uint64_t bytes) {
  const Descriptor fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd.get() < 0 || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) fail_to_write(path, errno);
}

SharedFile::SharedFile(fs::path path)
    : path_(std::move(path)), fd_(::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW)) {
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

AtomicFolder::AtomicFolder(fs::path path, Check check)
    : path_(path.has_filename() ? std::move(path) : path.parent_path()),
      temporary_(temporary_name(path_.parent_path().empty() ? fs::path(".") : path_.parent_path())),
      check_(std::move(check)) {
  check_(path_);
  std::error_code error;
  fs::create_directory(temporary_, error);
  if (error) throw UserError("cannot write {}: {}", path_.string(), error.message());
}

AtomicFolder::~AtomicFolder() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);  // after commit(): what was there before
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
