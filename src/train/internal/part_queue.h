// Copies of a run's state on their way from training to the disk.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

#include <ATen/core/Tensor.h>

#include "state/optimizer.h"

namespace chorus::inline train {

/// One thread copies parts into one block of the host's memory, which is kept: `budget` bytes of it, or as many as the
/// largest part takes. Another thread writes them meanwhile; when the block is full, the first one waits until all in it is written. Where
/// one of the two gives up, the other does not wait for it.
class PartQueue {
 public:
  explicit PartQueue(int64_t budget) : budget_(budget) {}

  /// What follows is another save. Nobody may be at the last one any more.
  void begin();
  /// Adds a copy of the part. Nothing where the writer has given up.
  void push(const Optimizer::Part& part);
  /// There will be no more.
  void close();

  /// visit(part) for all parts, until the queue is closed. Error where the other side has given up.
  void write_all(const Optimizer::Visit& visit);

  /// For whoever cannot go on.
  void give_up();

 private:
  const int64_t budget_;
  at::Tensor block_;   // [elements], of the thread that pushes
  int64_t taken_ = 0;  // elements of it that have been given out since it was empty
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Optimizer::Part> parts_;
  int64_t unwritten_ = 0;  // parts that were pushed and are not written yet
  bool closed_ = false, given_up_ = false;
};

}  // namespace chorus::inline train
