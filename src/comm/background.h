// Work that goes on beside what the calling thread does, and beside what it gives a device.
#pragma once

#include <functional>
#include <future>
#include <memory>

#include "comm/group.h"
#include "kernels/stream.h"

namespace chorus::inline comm {

/// Runs work on a thread of a group, and there on a side stream of the device. One piece of work at a time.
///
/// What the work allocates on the device belongs to that stream, and what it is the last to use does not: see
/// keep_for_current_stream().
class Background {
 public:
  /// Begins `work`, which follows all that the calling thread's stream was given so far.
  void begin(Group& group, SideStream stream, at::Device device, std::function<void()> work) {
    end_ = std::make_shared<DeviceEvent>();
    done_ = group.later([stream, device, end = end_, work = std::move(work),
                         before = std::make_shared<DeviceEvent>(DeviceEvent::record(device))] {
      const OnSideStream beside(stream, device, *before);
      work();
      *end = DeviceEvent::record(device);
    });
  }
  [[nodiscard]] bool pending() const { return done_.valid(); }
  /// Waits until the thread has run the work. The device may still be busy with it.
  void wait() const { done_.wait(); }
  /// Waits like wait(), where work is pending, and throws what the work threw. What the calling thread's stream is
  /// given from now on runs after the work on the device. Several threads may call it at a time.
  void follow() const {
    if (!done_.valid()) return;
    done_.get();
    end_->precede_current_stream();
  }
  /// Does what follow() does; nothing is pending afterwards.
  void finish() {
    follow();
    done_ = {};
  }

 private:
  std::shared_future<void> done_;
  std::shared_ptr<DeviceEvent> end_;
};

}  // namespace chorus::inline comm
