#include "comm/group.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <thread>

#include <ATen/ThreadLocalState.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "base/error.h"
#include "comm/channel.h"
#include "kernels/device.h"

#include "comm/internal/two_level.h"

namespace chorus::inline comm {

namespace {

constexpr int64_t kSmall = 64 << 10;  // bytes of all ranks together up to which everyone sums everything

char* bytes_of(const at::Tensor& x) {
  return static_cast<char*>(x.data_ptr());
}

void check(const at::Tensor& x, std::string_view what) {
  if (!x.is_contiguous()) throw Error("{}: only contiguous tensors can be sent", what);
}

/// into += x, or into = x.
void add(const at::Tensor& into, const at::Tensor& x, bool first) {
  first ? into.copy_(x) : into.add_(x);
}

/// out = sum over the rows of parts [ranks, n], in their order.
void sum_parts(const at::Tensor& out, const at::Tensor& parts) {
  const bool wide = parts.scalar_type() == at::kBFloat16 && out.scalar_type() == at::kBFloat16;
  const at::Tensor total = wide ? at::empty(out.sizes(), out.options().dtype(at::kFloat)) : out;
  for (int64_t r = 0; r < parts.size(0); ++r) {
    add(total, parts[r], r == 0);
  }
  if (wide) out.copy_(total);
}

/// Returns where each rank's rows begin, and how many bytes they are.
std::vector<Piece> pieces_of(const at::Tensor& x, std::span<const int64_t> rows, int64_t row_bytes) {
  std::vector<Piece> pieces;
  int64_t begin = 0;
  for (const int64_t count : rows) {
    pieces.push_back({bytes_of(x) + begin * row_bytes, static_cast<size_t>(count * row_bytes)});
    begin += count;
  }
  if (begin > x.size(0)) throw Error("all_to_all: {} rows of a tensor of {}", begin, x.size(0));
  return pieces;
}

}  // namespace

/// Work that waits for its turn, and the thread that does it.
class Group::Queue {
 public:
  ~Queue() {
    {
      const std::lock_guard lock(mutex_);
      closing_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  std::future<void> push(std::function<void()> work) {
    const std::lock_guard lock(mutex_);
    ++pending_;
    tasks_.push_back({std::move(work), {}});
    changed_.notify_all();
    return tasks_.back().done.get_future();
  }

  /// Whether the calling thread may use the group.
  [[nodiscard]] bool allows_caller() {
    const std::lock_guard lock(mutex_);
    return pending_ == 0 || std::this_thread::get_id() == thread_.get_id();
  }

 private:
  struct Task {
    std::function<void()> work;
    std::promise<void> done;
  };

  void run() {
    std::unique_lock lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return closing_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      Task task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      std::exception_ptr failure;
      try {
        task.work();
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      --pending_;  // before the future is ready: whoever waited for it may use the group
      failure ? task.done.set_exception(failure) : task.done.set_value();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  int64_t pending_ = 0;
  bool closing_ = false;
  std::thread thread_ = std::thread([this] { run(); });
};

Group::Group() = default;

Group::Group(std::unique_ptr<Channel> channel) : rank_(channel->rank()), size_(channel->size()) {
  if (size_ == 1) return;
  channel_ = std::move(channel);
  set_hosts(std::vector<int>(size_));
}

Group::~Group() {
  // Where an exception passes, the work that is pending may wait for ranks that wait for this one, and
  // freeing a channel waits for all: the process is about to end them all, so both are left as they are.
  if (std::uncaught_exceptions() > 0) {
    static_cast<void>(queue_.release());
    static_cast<void>(channel_.release());
  }
}
Group::Group(Group&&) noexcept = default;
Group& Group::operator=(Group&&) noexcept = default;

const std::string& Group::name() const {
  static const std::string alone = "alone";
  return channel_ ? channel_->name() : alone;
}

void Group::set_hosts(std::vector<int> host_of_rank) {
  ranks_a_host_ = ranks_a_host(host_of_rank);
  hosts_ = std::move(host_of_rank);
}

int Group::ranks_here() const {
  return channel_ ? static_cast<int>(std::ranges::count(hosts_, hosts_[rank_])) : 1;
}

int Group::rank_here() const {
  return channel_ ? static_cast<int>(std::count(hosts_.begin(), hosts_.begin() + rank_, hosts_[rank_])) : 0;
}

int64_t Group::bytes_sent() const {
  return channel_ ? channel_->bytes_sent() : 0;
}

void Group::set_timeout(double seconds) {
  if (channel_) channel_->set_timeout(seconds);
}

Channel& Group::channel() {
  if (queue_ && !queue_->allows_caller())
    throw Error("group {} was used while work given to it was pending", name());
  return *channel_;
}

void Group::exchange(at::Device device, std::string_view what, std::span<const Piece> send,
                     std::span<const Piece> receive) {
  channel().exchange(device, what, send, receive);
}

std::future<void> Group::later(std::function<void()> work) {
  if (!queue_) queue_ = std::make_unique<Queue>();
  return queue_->push([settings = at::ThreadLocalState(), work = std::move(work)] {
    const at::ThreadLocalStateGuard guard(settings);
    work();
  });
}

Group Group::subset(std::span<const int> ranks, std::string name) const {
  if (ranks.size() == 1) return {};
  Group group(channel_->subset(ranks, std::move(name)));
  std::vector<int> hosts;
  hosts.reserve(ranks.size());
  for (const int rank : ranks) hosts.push_back(hosts_[rank]);
  group.set_hosts(std::move(hosts));
  return group;
}

void Group::all_reduce(const at::Tensor& x) {
  check(x, "all_reduce");
  if (!channel_ || x.numel() == 0) return;
  const at::Tensor flat = x.view(-1);
  const int64_t n = flat.numel();
  if (n * size_ * x.element_size() <= kSmall) {
    const at::Tensor parts = at::empty({size_, n}, x.options());
    all_gather(parts, flat);
    sum_parts(flat, parts);
    return;
  }
  // Each rank sums its part of a stretch, and gives it to the others.
  const int64_t stretch = kScratch / x.element_size();
  for (int64_t begin = 0; begin < n; begin += stretch) {
    const int64_t count = std::min(stretch, n - begin);
    std::vector<int64_t> part(size_);
    for (int r = 0; r < size_; ++r) {
      part[r] = count * (r + 1) / size_ - count * r / size_;
    }
    const int64_t own = part[rank_];
    const at::Tensor piece = flat.narrow(0, begin, count);
    const at::Tensor arrived = at::empty({size_, own}, x.options());
    const int64_t size = x.element_size();
    const std::vector<Piece> places = pieces_of(piece, part, size);
    exchange(x.device(), "all_reduce", places,
             pieces_of(arrived.view(-1), std::vector<int64_t>(size_, own), size));
    sum_parts(piece.narrow(0, count * rank_ / size_, own), arrived);
    exchange(x.device(), "all_reduce", std::vector<Piece>(size_, places[rank_]), places);
  }
}

double Group::sum(double x) {
  const at::Tensor total = at::full({1}, x, at::kDouble);
  all_reduce(total);
  return total.item<double>();
}

int64_t Group::max(int64_t x) {
  if (!channel_) return x;
  const at::Tensor all = at::empty({size_}, at::kLong);
  all_gather(all, at::full({1}, x, at::kLong));
  return all.max().item<int64_t>();
}

void Group::reduce_scatter(const at::Tensor& out, const at::Tensor& in) {
  const int64_t n = out.numel();
  if (in.numel() != n * size_)
    throw Error("reduce_scatter: {} elements for {} parts of {}", in.numel(), size_, n);
  check(in, "reduce_scatter");
  reduce_scatter(out, in.view(-1), std::vector<int64_t>(size_, n));
}

void Group::reduce_scatter(const at::Tensor& out, const at::Tensor& in, std::span<const int64_t> rows) {
  check(out, "reduce_scatter");
  check(in, "reduce_scatter");
  const int64_t row_bytes = in.stride(0) * in.element_size(), own = rows[rank_], width = in.stride(0);
  if (out.numel() != own * width)
    throw Error("reduce_scatter: {} elements for a part of {} rows of {}", out.numel(), own, width);
  const std::vector<Piece> parts = pieces_of(in, rows, row_bytes);
  const at::Tensor flat = out.view(-1);
  if (!channel_) {
    if (out.data_ptr() != in.data_ptr()) flat.copy_(in.view(-1));
    return;
  }
  // As many rows at a time as there is scratch memory for; all ranks go on while the longest part lasts.
  const int64_t stretch = std::max<int64_t>(1, kScratch / std::max<int64_t>(1, row_bytes) / size_);
  const int64_t longest = *std::ranges::max_element(rows);
  for (int64_t begin = 0; begin < longest; begin += stretch) {
    const auto count_of = [&](int64_t r) { return std::clamp<int64_t>(rows[r] - begin, 0, stretch); };
    const int64_t count = count_of(rank_);
    const at::Tensor arrived = at::empty({size_, count * width}, in.options());
    std::vector<Piece> send;
    for (int64_t r = 0; r < size_; ++r) {
      send.push_back({parts[r].data + begin * row_bytes, static_cast<size_t>(count_of(r) * row_bytes)});
    }
    exchange(in.device(), "reduce_scatter", send,
             pieces_of(arrived.view(-1), std::vector<int64_t>(size_, count * width), in.element_size()));
    if (count > 0) sum_parts(flat.narrow(0, begin * width, count * width), arrived);
  }
}

void Group::all_gather(const at::Tensor& out, const at::Tensor& in) {
  check(in, "all_gather");
  if (out.numel() != in.numel() * size_)
    throw Error("all_gather: {} elements for {} parts of {}", out.numel(), size_, in.numel());
  check(out, "all_gather");
  all_gather(out.view(-1), in.view(-1), std::vector<int64_t>(size_, in.numel()));
}

void Group::all_gather(const at::Tensor& out, const at::Tensor& in, std::span<const int64_t> rows) {
  check(out, "all_gather");
  check(in, "all_gather");
  const int64_t row_bytes = out.stride(0) * out.element_size();
  const Piece own = {bytes_of(in), static_cast<size_t>(in.numel() * in.element_size())};
  if (out.scalar_type() != in.scalar_type() || std::cmp_not_equal(own.bytes, rows[rank_] * row_bytes))
    throw Error("all_gather: what goes in does not fit what comes out");
  const std::vector<Piece> parts = pieces_of(out, rows, row_bytes);
  if (!channel_) {
    if (in.data_ptr() != out.data_ptr()) out.view(-1).copy_(in.view(-1));
    return;
  }
  exchange(in.device(), "all_gather", std::vector<Piece>(size_, own), parts);
}

void Group::all_to_all(const at::Tensor& out, std::span<const int64_t> receive, const at::Tensor& in,
                       std::span<const int64_t> send) {
  check(out, "all_to_all");
  check(in, "all_to_all");
  const int64_t out_row = out.stride(0) * out.element_size(), in_row = in.stride(0) * in.element_size();
  if (out_row != in_row || std::cmp_not_equal(send.size(), size_) ||
      std::cmp_not_equal(receive.size(), size_) || send[rank_] != receive[rank_])
    throw Error("all_to_all: what goes in does not fit what comes out");
  std::vector<Piece> sent = pieces_of(in, send, in_row), received = pieces_of(out, receive, out_row);
  sent[rank_] = received[rank_] = {};
  if (!channel_) return;
  if (ranks_a_host_ > 0 && is_host(in.device())) {
    exchange_in_two_steps(channel(), sent, received, ranks_a_host_);
  } else {
    exchange(in.device(), "all_to_all", sent, received);
  }
}

void Group::barrier(std::string_view what) {
  if (!channel_) return;
  char token = 0;
  std::vector<char> tokens(size_);
  std::vector<Piece> receive(size_);
  std::ranges::transform(tokens, receive.begin(), [](char& t) { return Piece{&t, 1}; });
  exchange(at::kCPU, what, std::vector<Piece>(size_, Piece{&token, 1}), receive);
}

std::vector<std::string> Group::gather_text(std::string_view text) {
  const at::Tensor length = at::full({1}, static_cast<int64_t>(text.size()), at::kLong);
  const at::Tensor lengths = at::empty({size_}, at::kLong);
  all_gather(lengths, length);
  std::vector<std::string> texts(size_);
  std::vector<Piece> receive;
  for (int r = 0; r < size_; ++r) {
    texts[r].resize(lengths[r].item<int64_t>());
    receive.push_back({texts[r].data(), texts[r].size()});
  }
  std::string own(text);
  if (!channel_) return {own};
  exchange(at::kCPU, "gather_text", std::vector<Piece>(size_, Piece{own.data(), own.size()}), receive);
  return texts;
}

std::string Group::broadcast_text(std::string_view text) {
  return gather_text(rank_ == 0 ? text : "").front();
}

}  // namespace chorus::inline comm
