// A disk that fails while an accelerator's copies are under way: memory that they use stays until they have ended.
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/log.h"
#include "device/tested_device.h"
#include "temporary_folder.h"
#include "toy_run.h"
#include "train/tiers.h"
#include "train/trainer.h"

namespace chorus {
namespace {

/// Empties the files without a name that this process has in `folder`.
bool empty_scratch_files(const std::filesystem::path& folder) {
  bool any = false;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    if (!std::filesystem::read_symlink(entry.path(), error).string().starts_with(folder.string())) continue;
    std::filesystem::resize_file(entry.path(), 0, error);
    any |= !error;
  }
  return any;
}

TEST(DeviceDisk, ThatFailsEndsTheRunWithAnError) {
  console().set_quiet(true);
  const TemporaryFolder folder;
  const std::filesystem::path run = folder / "run";
  RunConfig config = toy_run(folder.path(), 200);
  config.device = testing::device_name();
  config.train.recompute = true;
  config.train.checkpoint_every = 2;
  config.validation.every = 0;
  config.memory = {.parameters = kNvme, .gradients = kHost, .optimizer = kNvme, .activations = kHost};
  std::atomic<bool> ended = false;
  std::thread disk([&] {
    while (!ended && !(std::filesystem::exists(run / "checkpoints" / "step-00000002") &&
                       empty_scratch_files(run / "scratch"))) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  EXPECT_THROW(train_run(config, {.folder = run}), Error);
  ended = true;
  disk.join();
}

}  // namespace
}  // namespace chorus
