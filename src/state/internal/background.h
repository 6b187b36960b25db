// Work that goes on beside what the calling thread does.
#pragma once

#include <functional>
#include <future>
#include <memory>

#include "comm/group.h"
#include "kernels/stream.h"

namespace chorus::inline state {

/// On a thread of a group's, and there on the device's stream for copies. One piece of work at a time.
class Background {
 public:
  /// `work` follows all that the calling thread's stream was given so far.
  void begin(Group& group, at::Device device, std::function<void()> work) {
    end_ = std::make_shared<DeviceEvent>();
    done_ = group.later([device, end = end_, work = std::move(work),
                         before = std::make_shared<DeviceEvent>(DeviceEvent::record(device))] {
      const OnCopyStream copying(device, *before);
      work();
      *end = DeviceEvent::record(device);
    });
  }
  [[nodiscard]] bool pending() const { return done_.valid(); }
  /// Until the thread has done it. It may still go on on the device.
  void wait() const { done_.wait(); }
  /// Likewise, where there is any; throws what it threw. What the calling thread's stream is given from now on
  /// follows it.
  void finish() {
    if (!done_.valid()) return;
    done_.get();
    end_->precede_current_stream();
  }

 private:
  std::future<void> done_;
  std::shared_ptr<DeviceEvent> end_;
};

}  // namespace chorus::inline state
