#include "train/internal/part_queue.h"

#include <utility>

#include "base/error.h"
#include "memory/usage.h"

namespace chorus::inline train {

namespace {

int64_t bytes_of(const Optimizer::Part& part) {
  return 3 * part.master.numel() * static_cast<int64_t>(sizeof(float));
}

Optimizer::Part copy_of(const Optimizer::Part& part) {
  const int64_t n = part.master.numel();
  const at::Tensor memory = allocate_on_host(3 * n, at::kFloat, part.master.device()).view({3, n});
  memory[0].copy_(part.master);
  memory[1].copy_(part.m);
  memory[2].copy_(part.v);
  return {.parameter = part.parameter,
          .local = part.local,
          .first = part.first,
          .master = memory[0],
          .m = memory[1],
          .v = memory[2]};
}

}  // namespace

void PartQueue::push(const Optimizer::Part& part) {
  const int64_t bytes = bytes_of(part);
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return given_up_ || held_ == 0 || held_ + bytes <= budget_; });
    if (given_up_) return;
    held_ += bytes;
  }
  Optimizer::Part copy = copy_of(part);
  const std::lock_guard lock(mutex_);
  parts_.push_back(std::move(copy));
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

void PartQueue::release(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  held_ -= bytes;
  changed_.notify_all();
}

void PartQueue::write_all(const Optimizer::Visit& visit) {
  while (true) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return given_up_ || closed_ || !parts_.empty(); });
    if (given_up_) throw Error("a checkpoint was given up");
    if (parts_.empty()) return;
    Optimizer::Part part = std::move(parts_.front());
    parts_.pop_front();
    lock.unlock();
    visit(part);
    const int64_t bytes = bytes_of(part);
    part = {};
    release(bytes);
  }
}

}  // namespace chorus::inline train
