// Order on a device with streams. What a thread gives a device goes to the thread's current stream there. A stream runs
// what it was given in that order, beside the host and beside other streams; between them there is no order but by an
// event. Whoever moves data beside computing uses these:
//
//   DeviceEvent computed = DeviceEvent::record(device);  // the weights have been written
//   DeviceEvent copied;
//   {
//     const OnCopyStream copying(device, computed);      // any thread
//     keep_for_current_stream(weights);                  // they may be freed before they are copied
//     pinned.copy_(weights, /*non_blocking=*/true);      // the host goes on
//     copied = DeviceEvent::record(device);
//   }
//   copied.precede_current_stream();                     // before the weights are written again
//   copied.wait();                                       // before the host reads `pinned`
//
// The host has no streams: on at::kCPU all of it does nothing. Errors of the device are c10::Error.
#pragma once

#include <optional>

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>

namespace chorus::inline kernels {

/// A point in what a stream was given. Threads may wait for one at the same time.
class DeviceEvent {
 public:
  /// An event of nothing: all of it is there.
  DeviceEvent() = default;
  /// Records an event after all that the calling thread's current stream of `device` was given so far.
  static DeviceEvent record(at::Device device);

  /// What the calling thread's current stream of that device is given from now on runs after it. The host does not
  /// wait.
  void precede_current_stream() const;
  /// The host waits for it.
  void wait() const;

 private:
  std::optional<c10::Event> event_;
};

/// Streams beside the one that computes: for copies, and for what ranks exchange. There is one of each for each device
/// of the process.
enum class SideStream { copies, exchange };

/// While it lives, that is the calling thread's current stream of `device`.
class OnSideStream {
 public:
  /// What it is given runs after `event` alone.
  OnSideStream(SideStream stream, at::Device device, const DeviceEvent& event);

 private:
  std::optional<c10::StreamGuard> guard_;
};

class OnCopyStream : public OnSideStream {
 public:
  /// Begins after all that the thread's own stream was given so far.
  explicit OnCopyStream(at::Device device) : OnCopyStream(device, DeviceEvent::record(device)) {}
  OnCopyStream(at::Device device, const DeviceEvent& event)
      : OnSideStream(SideStream::copies, device, event) {}
};

/// The tensor's memory belongs to the stream on which it was allocated, and is given to others there as soon as it is
/// freed. When it is freed after this call, that waits for what the calling thread's current stream was given until
/// then.
void keep_for_current_stream(const at::Tensor& tensor);

}  // namespace chorus::inline kernels
