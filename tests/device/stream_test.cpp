#include "kernels/stream.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include "device/simulated.h"

namespace chorus {
namespace {

class Streams : public ::testing::TestWithParam<at::Device> {};

TEST_P(Streams, CopiesRunAfterWhatTheyWereOrderedAfter) {
  const at::Device device = GetParam();
  const at::Tensor numbers = at::arange(1000, at::kFloat).to(device);
  const DeviceEvent computed = DeviceEvent::record(device);
  at::Tensor copy;
  DeviceEvent copied;
  {
    const OnCopyStream copying(device, computed);
    keep_for_current_stream(numbers);
    copy = numbers.clone();
    copied = DeviceEvent::record(device);
  }
  copied.precede_current_stream();
  keep_for_current_stream(copy);
  const at::Tensor doubled = copy + copy;
  {
    const OnCopyStream copying(device);  // after what the thread's own stream was given
    copy.copy_(doubled);
    copied = DeviceEvent::record(device);
  }
  copied.wait();
  copied.precede_current_stream();
  EXPECT_TRUE(at::equal(copy.cpu(), at::arange(1000, at::kFloat) * 2));
}

TEST_P(Streams, AnEventOfNothingIsThere) {
  const DeviceEvent nothing;
  nothing.wait();
  nothing.precede_current_stream();
  const OnCopyStream copying(GetParam(), nothing);
}

INSTANTIATE_TEST_SUITE_P(Devices, Streams, ::testing::Values(at::Device(at::kCPU), testing::kSimulated),
                         [](const auto& device) { return device.param.is_cpu() ? "host" : "simulated"; });

}  // namespace
}  // namespace chorus
