// System calls on files, with the errors that users read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>

#include <unistd.h>

#include "base/error.h"

namespace chorus::inline io {

/// The process has no descriptors or memory left, which says nothing about the file.
class OutOfResources : public Error {
 public:
  using Error::Error;
};

/// UserError, or Error where the errno is the machine's and not the place's: a failing disk, or OutOfResources.
[[noreturn]] void fail_to_read(const std::filesystem::path& path, int error);
/// UserError where the errno says that the place is wrong, else Error.
[[noreturn]] void fail_to_write(const std::filesystem::path& path, int error);

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct OpenFile {
  Descriptor fd;
  size_t size;
};

/// UserError as read_file().
OpenFile open_regular_file(const std::filesystem::path& path);

/// Up to `bytes` bytes; fewer only at the end of the file.
size_t read_some(int fd, char* data, size_t bytes, const std::filesystem::path& path);
void write_all_at(int fd, uint64_t offset, const void* data, size_t bytes, const std::filesystem::path& path);
/// Makes the folder `whole` the folder `place`, in one step where the file system can; returns where what was
/// there before lies now, "" for nothing. Errors as fail_to_write().
std::filesystem::path put_in_place(const std::filesystem::path& whole, const std::filesystem::path& place);
/// fsync(2), again where a signal interrupts it.
int sync(int fd);

/// open(2) with `flags` of a regular file by that very name: a symbolic link there is not followed, so what
/// it leads to stays as it is. UserError naming the path when it is a link, no regular file, or cannot be
/// opened; else Error.
int open_own_file(const std::filesystem::path& path, int flags);

}  // namespace chorus::inline io
