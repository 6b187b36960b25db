#include "kernels/stream.h"

#include <map>
#include <mutex>
#include <utility>

#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/device.h"

namespace chorus::inline kernels {

namespace {

using Streams = c10::impl::VirtualGuardImpl;

c10::Stream current_stream(at::Device device) {
  return Streams(device.type()).getStream(device);
}

c10::Stream side_stream(SideStream which, at::Device device) {
  static std::mutex mutex;
  // A process computes on one kind of device.
  static std::map<std::pair<SideStream, at::DeviceIndex>, c10::Stream> made;
  const std::scoped_lock lock(mutex);
  const std::pair key(which, device.index());
  const auto found = made.find(key);
  if (found != made.end()) return found->second;
  return made.emplace(key, Streams(device.type()).getStreamFromGlobalPool(device)).first->second;
}

}  // namespace

DeviceEvent DeviceEvent::record(at::Device device) {
  DeviceEvent event;
  if (!is_host(device)) event.event_.emplace(device.type()).record(current_stream(device));
  return event;
}

void DeviceEvent::precede_current_stream() const {
  if (event_) event_->block(current_stream(event_->device()));
}

void DeviceEvent::wait() const {
  if (event_) event_->synchronize();
}

OnSideStream::OnSideStream(SideStream stream, at::Device device, const DeviceEvent& event) {
  if (is_host(device)) return;
  guard_.emplace(side_stream(stream, device));
  event.precede_current_stream();
}

void keep_for_current_stream(const at::Tensor& tensor) {
  if (is_host(tensor)) return;
  Streams(tensor.device().type())
      .recordDataPtrOnStream(tensor.storage().data_ptr(), current_stream(tensor.device()));
}

}  // namespace chorus::inline kernels
