#include <cerrno>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/again.h"
#include "base/error.h"
#include "io/files.h"
#include "io/folder_use.h"

#include "io/internal/file_calls.h"

namespace chorus::inline io {
namespace fs = std::filesystem;

FolderLock::FolderLock(const fs::path& folder) {
  const fs::path path = folder / ".lock";
  Descriptor fd(open_own_file(path, O_RDWR | O_CREAT));
  const bool held = ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0;
  if (held && errno != EWOULDBLOCK) fail_to_write(path, errno);
  std::string holder(300, '\0');
  holder.resize(read_some(fd.get(), holder.data(), holder.size(), path));
  if (!holder.empty() && !holder.starts_with("process "))
    throw UserError("{} is there and is not chorus's lock of a folder; choose another folder", path.string());
  if (held) {
    std::erase_if(holder, [](unsigned char c) { return c < ' ' || c >= 127; });
    throw UserError("{} is in use by {}; wait until it ends, or use another folder", folder.string(),
                    holder.empty() ? "another process" : holder);
  }
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  holder = fmt::format("process {} on {}\n", ::getpid(), host);
  if (again([&] { return ::ftruncate(fd.get(), 0); }) != 0) fail_to_write(path, errno);
  write_all_at(fd.get(), 0, holder.data(), holder.size(), path);
  if (sync(fd.get()) != 0) fail_to_write(path, errno);
  fd_ = fd.release();
}

FolderLock::~FolderLock() {
  ::close(fd_);
}

bool is_in_use(const fs::path& folder) {
  const Descriptor fd(::open((folder / ".lock").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  return fd.get() >= 0 && ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace chorus::inline io
