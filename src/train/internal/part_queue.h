// Copies of a run's state on their way from training to the disk.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>

#include <ATen/core/Tensor.h>

#include "state/optimizer.h"

namespace chorus::inline train {

/// Hands parts from a thread that copies them to one that writes them, through one block of the host's memory, which
/// is kept: `budget` bytes, or as many as the largest part takes. When the block is full, the first thread waits
/// until all in it is written. Where one of the two gives up, the other does not wait for it.
class PartQueue {
 public:
  explicit PartQueue(int64_t budget) : budget_(budget) {}

  /// Begins another save. Both threads must have ended the last one.
  void begin();
  /// Adds a copy of the part; waits while the block is full. Does nothing when the writer has given up.
  void push(const Optimizer::Part& part);
  /// Says that there will be no more parts.
  void close();

  /// Calls visit(part) for all parts, until the queue is closed. Error when the other side has given up.
  void write_all(const Optimizer::Visit& visit);

  /// Says that the calling side cannot go on: the other side waits no more.
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
