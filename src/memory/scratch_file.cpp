#include "memory/scratch_file.h"

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

#include "memory/internal/scratch_calls.h"

namespace chorus::inline memory {
namespace fs = std::filesystem;
namespace {

constexpr unsigned kAtOnce = 64;              // requests the kernel has in hand
constexpr size_t kLargest = size_t{1} << 30;  // bytes of one call
constexpr ScratchFile::Request kNobody = 0;   // of entries that are no request any more

std::string reason(int error) {
  return std::generic_category().message(error);
}

/// What is left to be read or written of a request.
struct Transfer {
  bool write = false;
  uint64_t offset = 0;
  char* data = nullptr;
  size_t bytes = 0;
  int error = 0;
  [[nodiscard]] bool done() const { return bytes == 0 || error != 0; }

  /// After a call that returned `result`: bytes, or a negative error number.
  void advance(int64_t result) {
    if (result == -EINTR || result == -EAGAIN) return;
    if (result <= 0) {
      error = result < 0 ? static_cast<int>(-result) : EIO;  // 0: behind the end
      return;
    }
    offset += static_cast<uint64_t>(result);
    data += result;
    bytes -= static_cast<size_t>(result);
  }
};

}  // namespace

ScratchCalls& scratch_calls() {
  static ScratchCalls calls;
  return calls;
}

struct ScratchFile::State {
  fs::path folder;
  int fd = -1;
  bool uring = false;
  uint64_t size = 0;

  std::mutex mutex;  // of all below; nobody holds it while the kernel is waited for
  std::condition_variable changed;
  Request last = 0;
  std::map<Request, Transfer> transfers;
  std::deque<Request> queue;  // not begun: for the thread, or until the kernel has fewer in hand
  Traffic traffic;

  io_uring ring = {};
  unsigned in_hand = 0;  // requests that the kernel has
  bool reaping = false;  // a thread waits for the kernel: one thread at a time

  bool closing = false;
  std::thread thread;

  ~State() {
    if (uring) io_uring_queue_exit(&ring);
    if (fd >= 0) ::close(fd);
  }

  /// Does in this thread what is left of a request, which nobody else has in hand.
  void run_here(std::unique_lock<std::mutex>& lock, Request request) {
    Transfer& own = transfers.at(request);
    Transfer t = own;
    lock.unlock();
    while (!t.done()) {
      const size_t bytes = std::min(t.bytes, kLargest);
      const ssize_t result = t.write ? scratch_calls().write(fd, t.data, bytes, static_cast<off_t>(t.offset))
                                     : scratch_calls().read(fd, t.data, bytes, static_cast<off_t>(t.offset));
      t.advance(result < 0 ? -errno : result);
    }
    lock.lock();
    own = t;
    changed.notify_all();
  }

  // ---- a thread

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [this] { return closing || !queue.empty(); });
      if (queue.empty()) return;
      const Request request = queue.front();
      queue.pop_front();
      run_here(lock, request);
    }
  }

  // ---- io_uring; with the mutex held

  /// Hands the ring's new entries to the kernel.
  void submit() {
    int taken = 0;
    do {
      taken = scratch_calls().submit(&ring);
    } while (taken == -EINTR);
    if (taken > 0) in_hand += static_cast<unsigned>(taken);
  }

  /// Whether the kernel has taken the request.
  bool give(Request request) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    if (!entry) {  // the ring is full of what was not taken
      submit();
      entry = io_uring_get_sqe(&ring);
      if (!entry) return false;
    }
    const Transfer& t = transfers.at(request);
    const auto bytes = static_cast<unsigned>(std::min(t.bytes, kLargest));
    t.write ? io_uring_prep_write(entry, fd, t.data, bytes, t.offset)
            : io_uring_prep_read(entry, fd, t.data, bytes, t.offset);
    entry->user_data = request;
    submit();
    if (io_uring_sq_ready(&ring) == 0) return true;
    io_uring_prep_nop(entry);  // it stays in the ring, and goes with the next
    entry->user_data = kNobody;
    return false;
  }

  /// Gives the kernel what is queued, as much as it may have; what it does not take is done here.
  void feed(std::unique_lock<std::mutex>& lock) {
    while (!queue.empty() && in_hand < kAtOnce) {
      const Request request = queue.front();
      queue.pop_front();
      if (!give(request)) run_here(lock, request);
    }
  }

  /// Takes an event of the kernel's: a request is done, or queued again for the rest of it.
  void take(io_uring_cqe* event) {
    const Request request = event->user_data;
    const int result = event->res;
    io_uring_cqe_seen(&ring, event);
    --in_hand;
    if (request == kNobody) return;
    Transfer& t = transfers.at(request);
    t.advance(result);
    if (!t.done()) queue.push_front(request);
  }

  /// Waits for one of those in hand, without the mutex.
  void reap(std::unique_lock<std::mutex>& lock) {
    io_uring_cqe* event = nullptr;
    reaping = true;
    lock.unlock();
    // Whatever keeps the kernel from waiting, what it finishes comes into the ring.
    for (int result = 0; (result = scratch_calls().next(&ring, &event, true)) != 0;) {
      if (result != -EINTR) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    lock.lock();
    reaping = false;
    take(event);
    feed(lock);
    changed.notify_all();
  }

  Request start(bool write, uint64_t offset, char* data, size_t bytes) {
    if (offset % kBlock != 0 || bytes % kBlock != 0 || reinterpret_cast<uintptr_t>(data) % kBlock != 0)
      throw Error("scratch file in {}: {} bytes at {} are no whole blocks", folder.string(), bytes, offset);
    std::unique_lock lock(mutex);
    const Request request = ++last;
    (write ? traffic.written : traffic.read) += bytes;
    transfers[request] = {.write = write, .offset = offset, .data = data, .bytes = bytes};
    queue.push_back(request);
    if (uring) {
      for (io_uring_cqe* event = nullptr;
           in_hand > 0 && !reaping && scratch_calls().next(&ring, &event, false) == 0;)
        take(event);
      feed(lock);
    }
    changed.notify_all();
    return request;
  }
};

ScratchFile::ScratchFile(const fs::path& folder, Engine engine) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.folder = folder;
  std::error_code ignored;  // open() reports it better
  fs::create_directories(folder, ignored);
  s.fd = scratch_calls().open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (s.fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {  // a file system without nameless files
    std::string name = (folder / ".scratch-XXXXXX").string();
    s.fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (s.fd >= 0) ::unlink(name.c_str());
  }
  if (s.fd < 0) {
    throw UserError("cannot make a scratch file in {}: {}; memory.folder takes another folder",
                    folder.string(), reason(errno));
  }
  static_cast<void>(::fcntl(s.fd, F_SETFL, O_DIRECT));  // where it can't be, the page cache serves
  s.uring = engine == Engine::best && scratch_calls().begin(kAtOnce, &s.ring, 0) == 0;
  if (!s.uring) s.thread = std::thread([&s] { s.run(); });
}

ScratchFile::~ScratchFile() {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  if (s.uring) {
    while (s.in_hand > 0) s.reap(lock);
  } else {
    s.closing = true;
    lock.unlock();
    s.changed.notify_all();
    s.thread.join();
  }
}

uint64_t ScratchFile::reserve(uint64_t bytes) {
  State& s = *state_;
  const uint64_t begin = s.size, whole = (bytes + kBlock - 1) / kBlock * kBlock;
  if (whole == 0) return begin;
  if (const int error =
          scratch_calls().allocate(s.fd, static_cast<off_t>(begin), static_cast<off_t>(whole))) {
    throw UserError(
        "cannot set {:.1f} GB aside in {}: {}; free some space, or set memory.folder to another disk",
        static_cast<double>(begin + whole) * 1e-9, s.folder.string(), reason(error));
  }
  s.size += whole;
  return begin;
}

ScratchFile::Request ScratchFile::read(uint64_t offset, void* data, size_t bytes) {
  return state_->start(false, offset, static_cast<char*>(data), bytes);
}

ScratchFile::Request ScratchFile::write(uint64_t offset, const void* data, size_t bytes) {
  return state_->start(true, offset, static_cast<char*>(const_cast<void*>(data)), bytes);
}

void ScratchFile::wait(Request request) {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  const auto transfer = s.transfers.find(request);
  if (transfer == s.transfers.end())
    throw Error("scratch file in {}: request {} was waited for already", s.folder.string(), request);
  while (!transfer->second.done()) {
    s.in_hand > 0 && !s.reaping ? s.reap(lock) : s.changed.wait(lock);
  }
  const int error = transfer->second.error;
  const bool write = transfer->second.write;
  s.transfers.erase(transfer);
  if (error != 0) {
    throw Error("cannot {} the scratch file in {}: {}; the last checkpoint is whole",
                write ? "write" : "read", s.folder.string(), reason(error));
  }
}

bool ScratchFile::uses_io_uring() const {
  return state_->uring;
}
uint64_t ScratchFile::size() const {
  return state_->size;
}
ScratchFile::Traffic ScratchFile::traffic() const {
  const std::lock_guard lock(state_->mutex);
  return state_->traffic;
}

}  // namespace chorus::inline memory
