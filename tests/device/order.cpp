#include "device/order.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <exception>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include <c10/util/Exception.h>
#include <sys/mman.h>

#include "device/arena.h"
#include "device/platform.h"
#include "device/simulated.h"

namespace chorus::testing {

namespace {

using Clock = std::vector<int64_t>;

int64_t& count_of(Clock& clock, size_t stream) {
  if (clock.size() <= stream) clock.resize(stream + 1);
  return clock[stream];
}

void join(Clock& clock, const Clock& other) {
  for (size_t s = 0; s < other.size(); ++s) count_of(clock, s) = std::max(count_of(clock, s), other[s]);
}

/// The `number`-th that a stream was given touched memory.
struct Touch {
  size_t stream = 0;
  int64_t number = 0;
  const char* by = "";

  [[nodiscard]] bool in(const Clock& clock) const {
    return number == 0 || (stream < clock.size() && number <= clock[stream]);
  }
};

/// Of a stretch of memory: the last that wrote it, and the last of each stream that has read it since.
struct Stretch {
  Touch write;
  std::vector<Touch> reads;

  void read(const Touch& touch) {
    std::erase_if(reads, [&](const Touch& other) { return other.stream == touch.stream; });
    reads.push_back(touch);
  }
};

struct Block {
  size_t bytes;
  std::optional<size_t> stream;                // none where it is page-locked
  std::set<size_t> recorded;                   // streams that may go on using it when it is freed
  std::map<const char*, Stretch> stretches{};  // by where they begin

  /// The first stretch that begins at `begin` or after it, which is made to begin there.
  std::map<const char*, Stretch>::iterator cut(const char* begin, const char* end_of_block) {
    const auto next = stretches.lower_bound(begin);
    if (begin == end_of_block || (next != stretches.end() && next->first == begin)) return next;
    return stretches.emplace_hint(next, begin, std::prev(next)->second);
  }
};

struct StreamState {
  c10::Stream stream;
  Clock clock;
  double time = 0;
  std::recursive_mutex running;

  explicit StreamState(c10::Stream of) : stream(of) {}
  [[nodiscard]] std::string name() const {
    return stream.id() == 0 ? "the default stream" : "stream " + std::to_string(stream.id());
  }
};

/// A copy between the device and page-locked memory for which the host has not waited.
struct Pending {
  Touch touch;
  const char *begin, *end;
  bool write;
};

thread_local double host_time = 0;  // seconds

/// Whoever holds a stream's `running` may take `mutex`, not the other way round.
struct Order {
  std::mutex mutex;
  std::deque<StreamState> streams;  // deque: they stay where they are
  Clock host;
  std::map<const char*, Block> blocks;
  std::vector<Pending> pending;
  std::set<std::string, std::less<>> names;
  double measured_from = 0;
  std::vector<std::string>* record = nullptr;  // recorded()'s, while it is under way

  size_t number_of(c10::Stream stream) {
    const auto found =
        std::ranges::find_if(streams, [&](const StreamState& state) { return state.stream == stream; });
    const auto number = static_cast<size_t>(found - streams.begin());
    if (found == streams.end()) streams.emplace_back(stream);
    return number;
  }
  const char* name(std::string_view text) {
    const auto found = names.find(text);
    return (found == names.end() ? names.emplace(text).first : found)->c_str();
  }
  /// The block in which the address lies, or none.
  std::map<const char*, Block>::iterator find(const void* address) {
    const auto* const byte = static_cast<const char*>(address);
    const auto next = blocks.upper_bound(byte);
    if (next == blocks.begin()) return blocks.end();
    const auto found = std::prev(next);
    return byte < found->first + found->second.bytes ? found : blocks.end();
  }

  /// What pending copies leave to the host of the pages of which bytes [begin, end) have a part.
  void protect(const char* begin, const char* end) {
    const auto block = find(begin);
    const char *const first = block->first, *const last = first + block->second.bytes;
    const size_t within = reinterpret_cast<uintptr_t>(begin) % Arena::kPage;
    for (const char* page = begin - within; page < end; page += Arena::kPage) {
      int protection = PROT_READ | PROT_WRITE;
      for (const Pending& copy : pending) {
        if (copy.begin <= std::max(page, first) && std::min(page + Arena::kPage, last) <= copy.end)
          protection &= copy.write ? PROT_NONE : PROT_READ;
      }
      pinned_arena().protect(page, protection);
    }
  }

  void host_learns(const Clock& clock) {
    join(host, clock);
    const auto ended =
        std::ranges::partition(pending, [&](const Pending& copy) { return !copy.touch.in(host); });
    const std::vector<Pending> copies(ended.begin(), ended.end());
    pending.erase(ended.begin(), ended.end());
    for (const Pending& copy : copies) protect(copy.begin, copy.end);
  }
};

Order& order() {
  static Order& one = *new Order;  // memory may be freed after it
  return one;
}

/// A stream that nobody else is giving anything.
struct Held {
  StreamState* state;
  std::unique_lock<std::recursive_mutex> running;

  explicit Held(c10::Stream stream) {
    {
      const std::scoped_lock lock(order().mutex);
      state = &order().streams[order().number_of(stream)];
    }
    running = std::unique_lock(state->running);
  }
};

}  // namespace

Moment present(c10::Stream stream) {
  const Held held(stream);
  const std::scoped_lock lock(order().mutex);
  return {held.state->clock, held.state->time, host_time};
}

void let_wait(c10::Stream stream, const Moment& moment) {
  host_time = std::max(host_time, moment.taken);
  const Held held(stream);
  const std::scoped_lock lock(order().mutex);
  join(held.state->clock, moment.clock);
  held.state->time = std::max(held.state->time, moment.time);
}

void host_waits(const Moment& moment) {
  host_time = std::max({host_time, moment.time, moment.taken});
  const std::scoped_lock lock(order().mutex);
  order().host_learns(moment.clock);
}

void host_waits(c10::DeviceIndex device) {
  std::vector<c10::Stream> streams;
  {
    const std::scoped_lock lock(order().mutex);
    for (const StreamState& state : order().streams) {
      if (state.stream.device_index() == device) streams.push_back(state.stream);
    }
  }
  for (const c10::Stream stream : streams) host_waits(present(stream));
}

void host_works(double seconds) {
  host_time += seconds;
}

Operation::Operation(std::string_view name, c10::Stream stream) {
  Held held(stream);
  running_ = std::move(held.running);
  const std::scoped_lock lock(order().mutex);
  stream_ = order().number_of(stream);
  name_ = order().name(name);
  join(held.state->clock, order().host);
  ++count_of(held.state->clock, stream_);
  held.state->time = std::max(held.state->time, host_time);
}

Operation::~Operation() {
  const std::scoped_lock lock(order().mutex);
  if (order().record) order().record->push_back(name_ + sizes_ + " on " + order().streams[stream_].name());
}

void Operation::touches(const void* address, size_t bytes, bool write) {
  if (bytes == 0) return;
  const std::scoped_lock lock(order().mutex);
  sizes_ += (write ? " writes " : " reads ") + std::to_string(bytes);
  const auto found = order().find(address);
  if (found == order().blocks.end()) return;  // it was freed: closed
  const StreamState& own = order().streams[stream_];
  const auto check = [&](const Touch& before, const char* what) {
    TORCH_CHECK(before.in(own.clock), name_, " on ", own.name(), write ? " writes" : " reads", " what ",
                before.by, " on ", order().streams[before.stream].name(), what,
                ", and no event orders it after that");
  };
  Block& block = found->second;
  const auto* const begin = static_cast<const char*>(address);
  const char *const end = begin + bytes, *const end_of_block = found->first + block.bytes;
  const auto first = block.cut(begin, end_of_block), last = block.cut(end, end_of_block);
  for (auto stretch = first; stretch != last; ++stretch) {
    check(stretch->second.write, " wrote");
    if (!write) continue;
    for (const Touch& read : stretch->second.reads) check(read, " read");
  }
  const Touch touch = {stream_, own.clock[stream_], name_};
  if (write) {
    block.stretches.erase(std::next(first), last);
    first->second = {touch, {}};
  } else {
    for (auto stretch = first; stretch != last; ++stretch) stretch->second.read(touch);
  }
  if (block.stream) return;
  order().pending.push_back({touch, begin, end, write});
  order().protect(begin, end);
}

void Operation::takes(double seconds) {
  counters.busy += seconds;
  const std::scoped_lock lock(order().mutex);
  order().streams[stream_].time += seconds;
}

void Operation::host_waits() {
  const std::scoped_lock lock(order().mutex);
  const StreamState& own = order().streams[stream_];
  host_time = std::max(host_time, own.time);
  order().host_learns(own.clock);
}

void allocated(const void* address, size_t bytes, c10::Stream stream) {
  const std::scoped_lock lock(order().mutex);
  const size_t number = order().number_of(stream);
  if (order().record) order().record->push_back("memory of " + std::to_string(bytes));
  const auto* const begin = static_cast<const char*>(address);
  const Touch before = {number, count_of(order().streams[number].clock, number),
                        "whoever had the memory before"};
  order().blocks.emplace(begin, Block{bytes, number, {}, {{begin, {before, {}}}}});
}

void allocated_page_locked(const void* address, size_t bytes) {
  const std::scoped_lock lock(order().mutex);
  const auto* const begin = static_cast<const char*>(address);
  order().blocks.emplace(begin, Block{bytes, {}, {}, {{begin, {}}}});
}

void record_use(const void* address, c10::Stream stream) {
  const std::scoped_lock lock(order().mutex);
  const auto block = order().find(address);
  if (block != order().blocks.end()) block->second.recorded.insert(order().number_of(stream));
}

size_t freed(const void* address) {
  const std::scoped_lock lock(order().mutex);
  const auto found = order().blocks.find(static_cast<const char*>(address));
  const Block& block = found->second;
  const size_t bytes = block.bytes;
  if (block.stream) {
    const StreamState& own = order().streams[*block.stream];
    const auto check = [&](const Touch& touch) {
      if (touch.in(own.clock) || touch.in(order().host) || block.recorded.contains(touch.stream) ||
          std::uncaught_exceptions() > 0)  // the first fault is the one to tell of
        return;
      std::fprintf(stderr, "memory of %s is freed while %s on %s may still use it\n", own.name().c_str(),
                   touch.by, order().streams[touch.stream].name().c_str());
      std::abort();
    };
    for (const auto& [begin, stretch] : block.stretches) {
      check(stretch.write);
      std::ranges::for_each(stretch.reads, check);
    }
  } else {  // it is given to nobody else before they have ended
    std::erase_if(order().pending, [&](const Pending& copy) {
      return copy.begin >= found->first && copy.begin < found->first + bytes;
    });
  }
  order().blocks.erase(found);
  return bytes;
}

std::vector<std::string> recorded(const std::function<void()>& work) {
  std::vector<std::string> lines;
  const auto record = [](std::vector<std::string>* to) {
    const std::scoped_lock lock(order().mutex);
    order().record = to;
  };
  record(&lines);
  work();
  record(nullptr);
  return lines;
}

double take_device_time() {
  const std::scoped_lock lock(order().mutex);
  double latest = std::max(order().measured_from, host_time);
  for (const StreamState& state : order().streams) latest = std::max(latest, state.time);
  for (StreamState& state : order().streams) state.time = latest;
  host_time = latest;
  return latest - std::exchange(order().measured_from, latest);
}

}  // namespace chorus::testing
