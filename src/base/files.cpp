#include "chorus/base/files.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "chorus/base/error.h"
#include "chorus/base/file_guard.h"
#include "chorus/base/message.h"
#include "chorus/base/text.h"

#include "base/own_file.h"

// Inlined it uses the AVX2 this is compiled for; the library of the distribution is built for SSE2.
#define XXH_INLINE_ALL
#include <xxhash.h>

namespace chorus {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kTemporaryPrefix = ".chorus-tmp-";

std::string reason(int error) {
  return std::generic_category().message(error);
}

[[noreturn]] void fail_to_write(const fs::path& path, int error) {
  if (is_wrong_place(error)) {
    throw UserError("cannot write {}: {}", path.string(), reason(error));
  }
  throw Error("cannot write {}: {}", path.string(), reason(error));
}

[[noreturn]] void fail_to_read(const fs::path& path, int error) {
  if (error == EIO || error == ENOMEM || error == EMFILE || error == ENFILE) {
    throw Error("cannot read {}: {}", path.string(), reason(error));
  }
  throw UserError("cannot read {}: {}", path.string(), reason(error));
}

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

OpenFile open_regular_file(const fs::path& path) {
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info = {};
  if (fd.get() < 0 || ::fstat(fd.get(), &info) != 0) fail_to_read(path, errno);
  if (S_ISDIR(info.st_mode)) fail_to_read(path, EISDIR);
  if (!S_ISREG(info.st_mode)) throw UserError("cannot read {}: not a regular file", path.string());
  return {Descriptor(fd.release()), static_cast<size_t>(info.st_size)};
}

/// Up to `bytes` bytes; fewer only at the end of the file.
size_t read_some(int fd, char* data, size_t bytes, const fs::path& path) {
  size_t done = 0;
  while (done < bytes) {
    const ssize_t n = ::read(fd, data + done, bytes - done);
    if (n == 0) break;
    if (n < 0 && errno != EINTR) fail_to_read(path, errno);
    if (n > 0) done += static_cast<size_t>(n);
  }
  return done;
}

void write_all_at(int fd, uint64_t offset, const void* data, size_t bytes, const fs::path& path) {
  const char* next = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::pwrite(fd, next, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno != EINTR) fail_to_write(path, errno);
    if (n > 0) {
      next += n;
      offset += static_cast<uint64_t>(n);
      bytes -= static_cast<size_t>(n);
    }
  }
}

int sync(int fd) {
  int result = 0;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result;
}

/// What is mapped where. A signal handler goes through the list while others change it: entries are never
/// freed, only used again.
struct Mapping {
  std::atomic<const std::byte*> begin = nullptr;  // null: nothing, and the rest is another's to change
  size_t size = 0;
  std::string path;  // one line
  Mapping* next = nullptr;
};
std::atomic<Mapping*> mappings = nullptr;
std::mutex mappings_mutex;

void enlist(const std::byte* begin, size_t size, const fs::path& path) {
  const std::lock_guard lock(mappings_mutex);
  Mapping* entry = mappings.load();
  while (entry != nullptr && entry->begin.load() != nullptr) entry = entry->next;
  const bool is_new = entry == nullptr;
  if (is_new) entry = new Mapping{.next = mappings.load()};
  entry->size = size;
  entry->path = message_line(path.string());
  entry->begin.store(begin);
  if (is_new) mappings.store(entry);
}

void delist(const std::byte* begin) {
  const std::lock_guard lock(mappings_mutex);
  for (Mapping* m = mappings.load(); m != nullptr; m = m->next) {
    if (m->begin.load() == begin) return m->begin.store(nullptr);
  }
}

void sync_folder_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  sync_to_disk(parent.empty() ? fs::path(".") : parent);
}

}  // namespace

int open_own_file(const fs::path& path, int flags) {
  // O_NONBLOCK: opening a pipe that nobody reads would wait for ever.
  Descriptor fd(::open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0666));
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

bool is_wrong_place(int error) {
  constexpr int kWrong[] = {ENOENT, ENOTDIR, EISDIR,       EACCES, EPERM,
                            EROFS,  EEXIST,  ENAMETOOLONG, ELOOP,  ENOTEMPTY};
  return std::ranges::find(kWrong, error) != std::end(kWrong);
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

MappedFile::MappedFile(const fs::path& path) {
  const OpenFile file = open_regular_file(path);
  if (file.size == 0) return;
  void* data = ::mmap(nullptr, file.size, PROT_READ, MAP_SHARED, file.fd.get(), 0);
  if (data == MAP_FAILED) fail_to_read(path, errno);
  data_ = static_cast<const std::byte*>(data);
  size_ = file.size;
  enlist(data_, size_, path);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  delist(data_);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

const char* mapped_file_at(const void* address) {
  const auto* const at = static_cast<const std::byte*>(address);
  for (const Mapping* m = mappings.load(); m != nullptr; m = m->next) {
    const std::byte* const begin = m->begin.load();
    if (begin != nullptr && at >= begin && at < begin + m->size) return m->path.c_str();
  }
  return nullptr;
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
  fs::remove_all(temporary_, ignored);  // after commit(): what was there before
}

void AtomicFolder::commit() {
  sync_to_disk(temporary_);
  check_(path_);
  int result = ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_EXCHANGE);
  if (result != 0 && errno == ENOENT) result = ::rename(temporary_.c_str(), path_.c_str());
  // A file system that cannot exchange names: for a moment neither is there under its name.
  if (result != 0 && (errno == EINVAL || errno == ENOSYS)) {
    const fs::path before = temporary_name(temporary_.parent_path());
    result = ::rename(path_.c_str(), before.c_str());
    if (result == 0) result = ::rename(temporary_.c_str(), path_.c_str());
    if (result == 0) temporary_ = before;
  }
  if (result != 0) fail_to_write(path_, errno);
  sync_folder_of(path_);
}

// ---- hashes

uint64_t hash_bytes(std::span<const std::byte> bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}
uint64_t hash_bytes(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
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

std::string hash_text(uint64_t hash) {
  return fmt::format("{:016x}", hash);
}

struct Hasher::State {
  XXH3_state_t xxh;
};
Hasher::Hasher() : state_(std::make_unique<State>()) {
  XXH3_64bits_reset(&state_->xxh);
}
Hasher::~Hasher() = default;
void Hasher::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}
uint64_t Hasher::digest() const {
  return XXH3_64bits_digest(&state_->xxh);
}

// ---- lock

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
  if (::ftruncate(fd.get(), 0) != 0 ||
      ::pwrite(fd.get(), holder.data(), holder.size(), 0) != static_cast<ssize_t>(holder.size()) ||
      sync(fd.get()) != 0) {
    fail_to_write(path, errno);
  }
  fd_ = fd.release();
}

FolderLock::~FolderLock() {
  ::close(fd_);
}

}  // namespace chorus
