// What the simulated device finds: each fault in a short program, beside the program that is right.
#include "device/simulated.h"

#include <optional>
#include <string>
#include <thread>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/stream.h"

namespace chorus {
namespace {

using ::testing::HasSubstr;
using testing::kSimulated;

const at::TensorOptions kThere = at::TensorOptions(at::kFloat).device(kSimulated);

at::Tensor page_locked(int64_t size) {
  return at::empty({size}, at::TensorOptions(at::kFloat).pinned_memory(true)).fill_(1);
}

void wait_for_current_stream() {
  DeviceEvent::record(kSimulated).wait();
}

/// What it is refused with, or nothing.
template <class F>
std::string fault_of(const F& program) {
  try {
    program();
  } catch (const c10::Error& fault) {
    return fault.what_without_backtrace();
  }
  return {};
}

TEST(Simulated, ReadingWhatAnotherStreamWroteNeedsAnEvent) {
  const at::Tensor x = at::ones({100}, kThere);
  const DeviceEvent early = DeviceEvent::record(kSimulated);
  x.add_(1);
  {
    const OnCopyStream copying(kSimulated, early);
    EXPECT_THAT(fault_of([&] { x.clone(); }),
                HasSubstr("aten::copy_ on stream 1 reads what aten::add on the default stream wrote"));
  }
  const OnCopyStream copying(kSimulated);
  EXPECT_EQ(fault_of([&] { x.clone(); }), "");
  wait_for_current_stream();
}

TEST(Simulated, WritingWhatAnotherStreamReadsNeedsAnEvent) {
  const at::Tensor x = at::ones({100}, kThere), sum = at::ones({100}, kThere);
  DeviceEvent read;
  at::Tensor copy;
  {
    const OnCopyStream copying(kSimulated);
    copy = x + 1;
    read = DeviceEvent::record(kSimulated);
  }
  EXPECT_EQ(fault_of([&] { sum.copy_(x); }), "");  // both read
  EXPECT_THAT(fault_of([&] { x.zero_(); }), HasSubstr("writes what aten::add on stream"));
  read.precede_current_stream();
  EXPECT_EQ(fault_of([&] { x.zero_(); }), "");
}

TEST(Simulated, AllocatedMemoryMayStillBeInUse) {
  at::ones({100}, kThere);
  const DeviceEvent early = DeviceEvent::record(kSimulated);
  const at::Tensor before = at::empty({100}, kThere);
  at::ones({100}, kThere);
  const at::Tensor after = at::empty({100}, kThere);
  {
    const OnCopyStream copying(kSimulated, early);
    EXPECT_EQ(fault_of([&] { before.zero_(); }), "");
    EXPECT_THAT(fault_of([&] { after.zero_(); }), HasSubstr("whoever had the memory before"));
  }
  wait_for_current_stream();
  const OnCopyStream copying(kSimulated, early);
  EXPECT_EQ(fault_of([&] { after.zero_(); }), "");
  wait_for_current_stream();
}

TEST(Simulated, PartsOfMemoryAreApart) {
  const at::Tensor x = at::ones({8, 50}, kThere);
  const OnCopyStream copying(kSimulated);
  x.narrow(0, 0, 4).zero_();
  std::thread([&] {  // on its own stream
    EXPECT_EQ(fault_of([&] { x.narrow(0, 4, 4).zero_(); }), "");
    EXPECT_THAT(fault_of([&] { x.narrow(0, 3, 2).zero_(); }), HasSubstr("writes what aten::zero_"));
  })
      .join();
  wait_for_current_stream();
}

TEST(Simulated, WhatTheHostHasWaitedForIsInOrder) {
  const at::Tensor x = at::ones({100}, kThere);
  const DeviceEvent early = DeviceEvent::record(kSimulated);
  x.add_(1);
  EXPECT_EQ(x.sum().item<float>(), 200);
  const OnCopyStream copying(kSimulated, early);
  EXPECT_EQ(fault_of([&] { x.add_(1); }), "");
  wait_for_current_stream();
}

TEST(SimulatedDeathTest, FreedMemoryIsGivenToOthersUnlessItsUseIsRecorded) {
  const auto copy_and_free = [](bool recorded, bool ordered) {
    at::Tensor x = at::ones({100}, kThere);
    at::Tensor copy;
    DeviceEvent copied;
    {
      const OnCopyStream copying(kSimulated);
      if (recorded) keep_for_current_stream(x);
      copy = x.clone();
      copied = DeviceEvent::record(kSimulated);
    }
    if (ordered) copied.precede_current_stream();
    x.reset();
  };
  copy_and_free(true, false);
  copy_and_free(false, true);
  EXPECT_DEATH(copy_and_free(false, false), "is freed while aten::copy_ on stream .* may still use it");
}

TEST(SimulatedDeathTest, PageLockedMemoryIsClosedUntilTheCopyHasEnded) {
  const at::Tensor host = page_locked(3000), there = at::ones({3000}, kThere);
  EXPECT_TRUE(host.is_pinned());
  there.copy_(host, true);
  EXPECT_EQ(host[7].item<float>(), 1);  // being read, it may be read
  EXPECT_DEATH(host.zero_(), "");
  const DeviceEvent arrived = DeviceEvent::record(kSimulated);
  there.add_(1);
  host.copy_(there, true);
  arrived.wait();
  EXPECT_DEATH(host[7].item<float>(), "");
  EXPECT_DEATH(host[2999].item<float>(), "");
  wait_for_current_stream();
  EXPECT_EQ(host[7].item<float>(), 2);
  host.zero_();
  there.copy_(host);  // waits
  host.fill_(3);
  EXPECT_EQ(there.sum().item<float>(), 0);
}

TEST(Simulated, CopiesToOnePlaceOfPageLockedMemoryAreOrderedToo) {
  const at::Tensor host = page_locked(2000), there = at::ones({2000}, kThere), other = there + 1;
  DeviceEvent read;
  {
    const OnCopyStream copying(kSimulated);
    there.copy_(host, true);
    read = DeviceEvent::record(kSimulated);
  }
  EXPECT_THAT(fault_of([&] { host.copy_(other, true); }), HasSubstr("writes what aten::copy_ on stream"));
  EXPECT_EQ(fault_of([&] { other.copy_(host, true); }), "");
  read.precede_current_stream();
  host.copy_(other, true);
  wait_for_current_stream();
  EXPECT_EQ(host.sum().item<float>(), 2000);
}

TEST(Simulated, OrdinaryMemoryIsWaitedFor) {
  const at::Tensor host = at::ones({2000}), there = at::empty({2000}, kThere);
  there.copy_(host, true);
  host.zero_();  // it has been read
  host.copy_(there, true);
  EXPECT_EQ(host.sum().item<float>(), 2000);
  const at::Tensor narrow = page_locked(2000).to(at::kBFloat16);
  narrow.copy_(there, true);  // converted
  EXPECT_EQ(narrow.sum().item<float>(), 2000);
}

/// libtorch orders what runs backward as it ran forward, and what it frees.
TEST(Simulated, BackwardIsOrderedByLibtorch) {
  const at::Tensor x = at::ones({100}, kThere).requires_grad_(true);
  at::Tensor sum;
  {
    const at::Tensor doubled = x * 2;
    const OnCopyStream copying(kSimulated);
    keep_for_current_stream(doubled);
    sum = (doubled * doubled).sum();
  }
  sum.backward();
  EXPECT_EQ(x.grad()[7].item<float>(), 8);
}

TEST(Simulated, CopiesBesideComputingTakeTheLongerOfBoth) {
  const at::Tensor x = at::ones({512, 512}, kThere), host = page_locked(1 << 20),
                   there = at::empty({1 << 20}, kThere);
  const auto time_of = [&](int products, int copies, bool beside) {
    wait_for_current_stream();
    testing::take_device_time();
    DeviceEvent copied;
    {
      std::optional<OnCopyStream> copying;
      if (beside) copying.emplace(kSimulated);
      for (int i = 0; i < copies; ++i) there.copy_(host, true);
      copied = DeviceEvent::record(kSimulated);
    }
    for (int i = 0; i < products; ++i) at::mm(x, x);
    copied.precede_current_stream();
    wait_for_current_stream();
    return testing::take_device_time();
  };
  const double copy = 5e-6 + (4 << 20) / 50e9, product = 5e-6 + 3 * (1 << 20) / 3e12;
  EXPECT_NEAR(time_of(0, 3, false), 3 * copy, 1e-9);
  EXPECT_NEAR(time_of(4, 0, false), 4 * product, 1e-9);
  EXPECT_NEAR(time_of(4, 3, false), 4 * product + 3 * copy, 1e-9);
  EXPECT_NEAR(time_of(4, 3, true), 3 * copy, 1e-9);
  EXPECT_NEAR(time_of(50, 3, true), 50 * product, 1e-9);
}

}  // namespace
}  // namespace chorus
