// What libtorch asks of a device's allocator for its statistics, in terms of allocations that are told one by one.
#pragma once

#include <algorithm>
#include <mutex>
#include <utility>

#include <c10/core/CachingDeviceAllocator.h>

namespace chorus::testing {

/// Counts those of all devices of its kind together: a process uses one.
class CountedAllocator : public c10::DeviceAllocator {
 public:
  static constexpr size_t kWhole = size_t{1} << 30;  // bytes that the device is said to have

  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t /*pool*/) override {}
  void recordStream(const c10::DataPtr& /*data*/, c10::Stream /*stream*/) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex /*device*/) override {
    const std::scoped_lock lock(mutex_);
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.allocated_bytes.front() = held_;
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex /*device*/) override {}
  void resetPeakStats(c10::DeviceIndex /*device*/) override {
    const std::scoped_lock lock(mutex_);
    held_.peak = held_.current;
  }
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex /*device*/) override {
    const std::scoped_lock lock(mutex_);
    return {kWhole - std::min(kWhole, static_cast<size_t>(held_.current)), kWhole};
  }
  /// So many bytes more are allocated, or fewer.
  void count(int64_t bytes) {
    const std::scoped_lock lock(mutex_);
    held_.current += bytes;
    held_.peak = std::max(held_.peak, held_.current);
  }

 private:
  std::mutex mutex_;
  c10::CachingAllocator::Stat held_;
};

}  // namespace chorus::testing
