#include "train/internal/part_queue.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "memory/usage.h"

namespace chorus::inline train {

void PartQueue::begin() {
  const std::lock_guard lock(mutex_);
  parts_.clear();
  taken_ = unwritten_ = 0;
  closed_ = given_up_ = false;
}

void PartQueue::push(const Optimizer::Part& part) {
  const int64_t n = part.master.numel(),
                whole = std::max(budget_ / static_cast<int64_t>(sizeof(float)), 3 * n);
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return given_up_ || unwritten_ == 0 || (block_.defined() && taken_ + 3 * n <= block_.numel());
    });
    if (given_up_) return;
    if (unwritten_ == 0) taken_ = 0;
    ++unwritten_;
  }
  if (!block_.defined() || block_.numel() < 3 * n) {  // nothing lies in it
    block_.reset();
    block_ = allocate_on_host(whole, at::kFloat, part.master.device());
  }
  const at::Tensor copy = block_.narrow(0, taken_, 3 * n).view({3, n});
  taken_ += 3 * n;
  copy[0].copy_(part.master);
  copy[1].copy_(part.m);
  copy[2].copy_(part.v);
  const std::lock_guard lock(mutex_);
  parts_.push_back({.parameter = part.parameter,
                    .local = part.local,
                    .first = part.first,
                    .master = copy[0],
                    .m = copy[1],
                    .v = copy[2]});
  changed_.notify_all();
}

void PartQueue::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

void PartQueue::give_up() {
  const std::lock_guard lock(mutex_);
  given_up_ = true;
  changed_.notify_all();
}

void PartQueue::write_all(const Optimizer::Visit& visit) {
  while (true) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return given_up_ || closed_ || !parts_.empty(); });
    if (given_up_) throw Error("a checkpoint was given up");
    if (parts_.empty()) return;
    const Optimizer::Part part = std::move(parts_.front());
    parts_.pop_front();
    lock.unlock();
    visit(part);
    lock.lock();
    --unwritten_;
    changed_.notify_all();
  }
}

}  // namespace chorus::inline train
