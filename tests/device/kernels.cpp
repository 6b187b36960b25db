// Kernels of ours on the simulated device: each an operation, on the memory behind.
#include <vector>

#include <ATen/record_function.h>

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

/// The host's AdamW, which reads four arrays and writes three, and its norm, which reads one; all in fp32.
std::unique_ptr<at::ObserverContext> time_host(const at::RecordFunction& work) {
  const std::string_view name = work.name();
  const double bytes = name == "chorus::adamw_step" ? 28 : name == "chorus::sum_of_squares" ? 4 : 0;
  if (bytes > 0) host_works(bytes * static_cast<double>(work.inputs()[0].toInt()) / DeviceRates::host_memory);
  return nullptr;
}

SimulatedKernels kernels;
const bool kOn = (run_own_kernels(true), true);
const at::CallbackHandle kTimed = at::addGlobalCallback(
    at::RecordFunctionCallback(&time_host).needsInputs(true).scopes({at::RecordScope::USER_SCOPE}));

}  // namespace

void run_own_kernels(bool on) {
  set_device_of_tests(kSimulated.type(), on ? &kernels : nullptr);
}

}  // namespace chorus::testing
