#include "report/internal/growing_lines.h"

#include <array>
#include <cerrno>
#include <memory>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/again.h"
#include "base/error.h"

namespace chorus::inline report {

namespace {

[[noreturn]] void fail(const std::filesystem::path& path, int error) {
  throw UserError("cannot read {}: {}", path.string(), std::generic_category().message(error));
}

}  // namespace

bool GrowingLines::read(const Reader& reader) {
  const int fd = again([this] { return ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); });
  if (fd < 0 && errno != ENOENT) fail(path_, errno);
  if (fd < 0) return false;
  const std::unique_ptr<const int, void (*)(const int*)> closed(&fd, [](const int* open) { ::close(*open); });
  struct stat about {};
  if (::fstat(fd, &about) != 0) fail(path_, errno);
  if (!S_ISREG(about.st_mode)) throw UserError("cannot read {}: it is no regular file", path_.string());
  // A run that goes on from a checkpoint puts a shorter file in its place.
  const bool another = about.st_ino != file_ || about.st_size < position_;
  if (another && file_ != 0) reader.start_again();
  if (another) {
    file_ = about.st_ino;
    position_ = 0;
    line_.clear();
    passing_ = false;
  }
  std::array<char, size_t{1} << 16> bytes;
  const int64_t before = position_;
  for (;;) {
    const ssize_t got = again([&] { return ::pread(fd, bytes.data(), bytes.size(), position_); });
    if (got < 0) fail(path_, errno);
    if (got == 0) break;
    position_ += got;
    take({bytes.data(), static_cast<size_t>(got)}, reader);
  }
  return another || position_ != before;
}

void GrowingLines::take(std::string_view text, const Reader& reader) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view piece = text.substr(0, end);
    if (!passing_ && line_.size() + piece.size() > kLongest) {
      passing_ = true;
      line_.clear();
      reader.too_long();
    }
    if (!passing_) line_ += piece;
    if (end == std::string_view::npos) return;
    if (!passing_) reader.line(line_);
    passing_ = false;
    line_.clear();
    text.remove_prefix(end + 1);
  }
}

}  // namespace chorus::inline report
