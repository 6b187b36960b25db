// What the planner says against what a run on the device holds. A GPU's attention takes less than libtorch's own, which
// is what is planned for.
#include <gtest/gtest.h>

#include "device/tested_device.h"
#include "temporary_folder.h"
#include "train/planned_run.h"
#include "train/tiers.h"

namespace chorus {
namespace {

using testing::device, testing::kSimulated;

struct DeviceCase {
  const char* name;
  void (*change)(Job&);
};

void PrintTo(const DeviceCase& c, std::ostream* out) {
  *out << c.name;
}

class DevicePlan : public ::testing::TestWithParam<DeviceCase> {};

TEST_P(DevicePlan, IsWhatARunHolds) {
  const DeviceMemoryCount counting(0, device());
  Job job = small_job();
  job.accelerator = true;
  job.model.encoder_layers = job.model.decoder_layers = 2;
  job.model.dropout = job.model.moe.jitter = 0;  // slow there
  GetParam().change(job);
  const TemporaryFolder folder;
  const Measured measured = measure(job, folder.path(), device());
  const MemoryPlan plan = plan_memory(job);
  job.memory_case = MemoryCase::worst;
  const MemoryPlan most = plan_memory(job);
  const auto check = [](const char* tier, const Holdings& planned, const Holdings& at_most, int64_t held) {
    EXPECT_GE(static_cast<double>(at_most.total()), 0.95 * static_cast<double>(held)) << tier;
    if (device() == kSimulated) {
      EXPECT_LE(static_cast<double>(planned.total()), 1.2 * static_cast<double>(held)) << tier;
    }
  };
  check("device", plan.device, most.device, measured.device);
  check("host", plan.host, most.host, measured.host);
  check("nvme", plan.nvme, most.nvme, static_cast<int64_t>(measured.nvme));
}

INSTANTIATE_TEST_SUITE_P(
    , DevicePlan,
    ::testing::Values(DeviceCase{"plain", [](Job&) {}},
                      DeviceCase{"bf16_optimizer_nvme",
                                 [](Job& j) { j.compute = at::kBFloat16, j.memory.optimizer = kNvme; }},
                      DeviceCase{"recompute", [](Job& j) { j.recompute = true; }},
                      DeviceCase{"all_host",
                                 [](Job& j) {
                                   j.recompute = true, j.memory = {.parameters = kHost,
                                                                   .gradients = kHost,
                                                                   .optimizer = kHost,
                                                                   .activations = kHost};
                                 }},
                      DeviceCase{"parameters_gradients_host",
                                 [](Job& j) { j.memory.parameters = j.memory.gradients = kHost; }}),
    [](const auto& tested) { return std::string(tested.param.name); });

}  // namespace
}  // namespace chorus
