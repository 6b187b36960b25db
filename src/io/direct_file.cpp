#include "io/direct_file.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/again.h"

#include "io/internal/file_calls.h"

namespace chorus::inline io {

namespace {

constexpr size_t kPage = 4096, kBlock = size_t{4} << 20;

/// Whether the page cache is passed from now on. Where it cannot be, it serves.
bool pass_cache(int fd, bool on) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT) == 0;
}

}  // namespace

void DirectFile::Free::operator()(std::byte* block) const {
  std::free(block);
}

DirectFile::DirectFile(std::filesystem::path path) : path_(std::move(path)) {
  void* block = nullptr;
  if (::posix_memalign(&block, kPage, kBlock) != 0) throw std::bad_alloc();
  block_.reset(static_cast<std::byte*>(block));
  fd_ = again([&] { return ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); });
  if (fd_ < 0) fail_to_write(path_, errno);
  static_cast<void>(pass_cache(fd_, true));
}

DirectFile::~DirectFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(path_.c_str());
}

void DirectFile::flush(size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const ssize_t n = again([&] {
      return ::pwrite(fd_, block_.get() + done, bytes - done, static_cast<off_t>(written_ + done));
    });
    if (n < 0) {
      // What was written in part leaves off within a block, and some file systems want larger ones.
      if (errno == EINVAL && pass_cache(fd_, false)) continue;
      fail_to_write(path_, errno);
    }
    done += static_cast<size_t>(n);
  }
  written_ += bytes;
  taken_ = 0;
}

void DirectFile::write(const void* data, size_t bytes) {
  const auto* next = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const size_t n = std::min(bytes, kBlock - taken_);
    std::memcpy(block_.get() + taken_, next, n);
    taken_ += n;
    next += n;
    bytes -= n;
    if (taken_ == kBlock) flush(kBlock);
  }
}

void DirectFile::commit(std::string_view head) {
  static_cast<void>(pass_cache(fd_, false));  // the rest is no whole block
  flush(taken_);
  write_all_at(fd_, 0, head.data(), head.size(), path_);
  if (sync(fd_) != 0) fail_to_write(path_, errno);
  // As AtomicFile::commit().
  if (::close(std::exchange(fd_, -1)) == 0 || errno == EINTR) return;
  const int error = errno;
  ::unlink(path_.c_str());
  fail_to_write(path_, error);
}

}  // namespace chorus::inline io
