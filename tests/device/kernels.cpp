// Kernels of ours on the simulated device: each an operation, on the memory behind.
#include <vector>

#include "base/error.h"
#include "device/arena.h"
#include "device/order.h"
#include "device/platform.h"
#include "device/simulated.h"
#include "kernels/device_of_tests.h"

namespace chorus::testing {

namespace {

class SimulatedKernels final : public DeviceOfTests {
 public:
  void begin() override { opened.clear(); }
  void* open(const at::Tensor& x, bool writes) override {
    opened.push_back({x.const_data_ptr(), x.nbytes(), writes});
    return device_arena().behind(x.const_data_ptr());
  }
  void run(const char* kernel, at::Device device, const std::function<void()>& work) override {
    if (current_device() != device)
      throw Error("{}: another device than its operands' is the current one", kernel);
    ++counters.kernels;
    Operation operation(kernel, current_stream(device));
    double bytes = 0;
    for (const Opened& x : opened) {
      x.writes ? operation.writes(x.at, x.bytes) : operation.reads(x.at, x.bytes);
      bytes += static_cast<double>(x.bytes);
    }
    operation.takes(DeviceRates::launch + bytes / DeviceRates::memory);
    work();
  }

 private:
  struct Opened {
    const void* at;
    size_t bytes;
    bool writes;
  };
  static thread_local std::vector<Opened> opened;
};

thread_local std::vector<SimulatedKernels::Opened> SimulatedKernels::opened;

SimulatedKernels kernels;
const bool kOn = (run_own_kernels(true), true);

}  // namespace

void run_own_kernels(bool on) {
  set_device_of_tests(kSimulated.type(), on ? &kernels : nullptr);
}

}  // namespace chorus::testing
