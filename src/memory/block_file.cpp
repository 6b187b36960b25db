#include "memory/block_file.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "memory/disk_calls.h"

namespace chorus::inline memory {
namespace {

constexpr unsigned kAtOnce = 256;             // requests the kernel has in hand
constexpr size_t kLargest = size_t{1} << 30;  // bytes of one call
constexpr BlockFile::Request kNobody = 0;     // of entries that are no request any more

/// What is left to be read or written of a request.
struct Transfer {
  bool write = false;
  uint64_t offset = 0;
  char* data = nullptr;
  size_t bytes = 0;
  size_t spare = 0;  // of `bytes`, those at the end that need not be there
  int error = 0;
  [[nodiscard]] bool done() const { return bytes <= spare || error != 0; }

  /// Goes on after a call that returned `result`: bytes, or a negative error number.
  void advance(int64_t result) {
    // Cancelled is what the kernel had not begun when the thread that had asked for it ended; nobody else cancels.
    if (result == -EINTR || result == -EAGAIN || result == -ECANCELED) return;
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

DiskCalls& disk_calls() {
  static DiskCalls calls;
  return calls;
}

struct BlockFile::State {
  int fd = -1;
  Words words;
  bool uring = false;

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
      const ssize_t result = t.write ? disk_calls().write(fd, t.data, bytes, static_cast<off_t>(t.offset))
                                     : disk_calls().read(fd, t.data, bytes, static_cast<off_t>(t.offset));
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
      taken = disk_calls().submit(&ring);
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
    // By a thread of the kernel's: pinning memory, and clearing what is touched for the first time, takes as long as
    // computing what the bytes are for, and is not to be in its way.
    io_uring_sqe_set_flags(entry, IOSQE_ASYNC);
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
    for (int result = 0; (result = disk_calls().next(&ring, &event, true)) != 0;) {
      if (result != -EINTR) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    lock.lock();
    reaping = false;
    take(event);
    feed(lock);
    changed.notify_all();
  }

  Request start(const Transfer& transfer) {
    if (transfer.offset % kBlock != 0 || transfer.bytes % kBlock != 0 ||
        reinterpret_cast<uintptr_t>(transfer.data) % kBlock != 0)
      throw Error("{}: {} bytes at {} are no whole blocks", words.name, transfer.bytes, transfer.offset);
    std::unique_lock lock(mutex);
    const Request request = ++last;
    (transfer.write ? traffic.written : traffic.read) += transfer.bytes;
    transfers[request] = transfer;
    queue.push_back(request);
    if (uring) {
      for (io_uring_cqe* event = nullptr;
           in_hand > 0 && !reaping && disk_calls().next(&ring, &event, false) == 0;)
        take(event);
      feed(lock);
    }
    changed.notify_all();
    return request;
  }
};

BlockFile::BlockFile(int fd, Words words, Engine engine) : state_(std::make_unique<State>()) {
  State& s = *state_;
  s.fd = fd;
  s.words = std::move(words);
  static_cast<void>(::fcntl(s.fd, F_SETFL, O_DIRECT));  // where it can't be, the page cache serves
  s.uring = engine == Engine::best && disk_calls().begin(kAtOnce, &s.ring, 0) == 0;
  if (!s.uring) s.thread = std::thread([&s] { s.run(); });
}

BlockFile::~BlockFile() {
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

BlockFile::Request BlockFile::read(uint64_t offset, void* data, size_t bytes, size_t needed) {
  return state_->start({.write = false,
                        .offset = offset,
                        .data = static_cast<char*>(data),
                        .bytes = bytes,
                        .spare = bytes - std::min(bytes, needed)});
}

BlockFile::Request BlockFile::write(uint64_t offset, const void* data, size_t bytes) {
  return state_->start(
      {.write = true, .offset = offset, .data = static_cast<char*>(const_cast<void*>(data)), .bytes = bytes});
}

void BlockFile::wait(Request request) {
  State& s = *state_;
  std::unique_lock lock(s.mutex);
  const auto transfer = s.transfers.find(request);
  if (transfer == s.transfers.end())
    throw Error("request {} of {} was waited for already", request, s.words.name);
  while (!transfer->second.done()) {
    s.in_hand > 0 && !s.reaping ? s.reap(lock) : s.changed.wait(lock);
  }
  const int error = transfer->second.error;
  const bool write = transfer->second.write;
  s.transfers.erase(transfer);
  if (error != 0) {
    throw Error("cannot {} {}: {}; {}", write ? "write" : "read", s.words.name,
                std::generic_category().message(error), s.words.advice);
  }
}

bool BlockFile::uses_io_uring() const {
  return state_->uring;
}
BlockFile::Traffic BlockFile::traffic() const {
  const std::lock_guard lock(state_->mutex);
  return state_->traffic;
}

}  // namespace chorus::inline memory
