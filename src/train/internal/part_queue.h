// Copies of a run's state on their way from training to the disk.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

#include "state/optimizer.h"

namespace chorus::inline train {

/// One thread copies parts into host memory, at most `budget` bytes of them at a time (one part at least), while
/// another writes them. Where one of the two gives up, the other does not wait for it.
class PartQueue {
 public:
  explicit PartQueue(int64_t budget) : budget_(budget) {}

  /// A copy of the part; waits until there is room. Nothing where the writer has given up.
  void push(const Optimizer::Part& part);
  /// There will be no more.
  void close();

  /// visit(part) for all parts, until the queue is closed; gives up where it throws. Error where the other side has
  /// given up.
  void write_all(const Optimizer::Visit& visit);

  /// For whoever cannot go on.
  void give_up();

 private:
  void release(int64_t bytes);

  const int64_t budget_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Optimizer::Part> parts_;
  int64_t held_ = 0;  // bytes of copies that are not written yet
  bool closed_ = false, given_up_ = false;
};

}  // namespace chorus::inline train
