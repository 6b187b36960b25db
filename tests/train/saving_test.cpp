// Checkpoints that are written beside training.
#include <atomic>
#include <csignal>
#include <future>
#include <thread>

#include <ATen/ops/full.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/resource.h>

#include "base/error.h"
#include "base/log.h"
#include "formats/convert.h"
#include "formats/place.h"
#include "io/files.h"
#include "io/json.h"
#include "temporary_folder.h"
#include "toy_run.h"

#include "train/internal/part_queue.h"

namespace chorus {
namespace {

/// Of `elements` of each array, which holds `value`.
Optimizer::Part part(int64_t elements, float value) {
  return {.parameter = 1,
          .master = at::full({elements}, value),
          .m = at::full({elements}, 2 * value),
          .v = at::full({elements}, 3 * value)};
}

/// Files that this process writes cannot grow beyond so many bytes, while this lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_ = {};
};

TEST(PartQueue, WhatIsPushedMayChangeBeforeItIsWritten) {
  PartQueue queue(1 << 20);
  Optimizer::Part pushed = part(5, 1);
  queue.push(pushed);
  pushed.master.fill_(9);
  queue.push(pushed);
  queue.close();
  std::vector<float> written;
  queue.write_all([&](const Optimizer::Part& seen) {
    EXPECT_EQ(seen.parameter, 1);
    EXPECT_EQ(seen.m[4].item<float>(), 2);
    EXPECT_EQ(seen.v[0].item<float>(), 3);
    written.push_back(seen.master[4].item<float>());
  });
  EXPECT_EQ(written, (std::vector<float>{1, 9}));
}

TEST(PartQueue, HoldsNoMoreThanItsBudgetButOnePartAtLeast) {
  constexpr int64_t kPart = 3 * 100 * 4;  // bytes
  for (const int64_t budget : {int64_t{0}, kPart, 2 * kPart, 2 * kPart + 1}) {
    PartQueue queue(budget);
    std::atomic<int64_t> pushed = 0;
    std::thread training([&] {
      for (int i = 0; i < 10; ++i, ++pushed) queue.push(part(100, 1));
      queue.close();
    });
    int64_t seen = 0;
    queue.write_all([&](const Optimizer::Part&) {
      ++seen;
      std::this_thread::yield();
      EXPECT_LE(pushed - seen + 1, std::max<int64_t>(budget / kPart, 1)) << budget;
    });
    training.join();
    EXPECT_EQ(seen, 10);
  }
}

TEST(PartQueue, NobodyWaitsForWhoGaveUp) {
  PartQueue unread(0);
  std::future<void> pushing = std::async(std::launch::async, [&] {
    for (int i = 0; i < 3; ++i) unread.push(part(10, 1));
  });
  unread.give_up();
  pushing.get();
  PartQueue unfilled(0);
  std::future<void> writing =
      std::async(std::launch::async, [&] { unfilled.write_all([](const Optimizer::Part&) {}); });
  unfilled.give_up();
  EXPECT_THROW(writing.get(), Error);
}

TEST(Saving, TheBytesAreThoseOfARunThatWaits) {
  console().set_quiet(true);
  const TemporaryFolder folder;
  RunConfig config = toy_run(folder.path(), 7);
  config.train.checkpoint_every = 1;
  config.memory.save_budget = "";
  train_run(config, {.folder = folder / "waits"});
  const auto expected = last_tensors(folder / "waits");
  const auto planned = [&](const char* run) {
    return read_json(folder / run / "plan.json").at("most").at("host").at("buffers").get<int64_t>();
  };
  for (const auto& [name, budget] : {std::pair{"little", "1kB"}, {"all", "1GB"}}) {
    config.memory.save_budget = budget;
    train_run(config, {.folder = folder / name});
    EXPECT_TRUE(last_tensors(folder / name) == expected) << budget;
    EXPECT_EQ(last_tensors(folder / name).at("step"), "7");
  }
  int64_t bytes = 0;  // of masters and moments
  for (const auto& [name, tensor] : expected) bytes += name == "step" ? 0 : std::ssize(tensor);
  EXPECT_EQ(planned("little") - planned("waits"), 1000);
  EXPECT_GE(planned("all") - planned("waits"), bytes);
  EXPECT_LE(planned("all") - planned("waits"), bytes + bytes / 100);  // buckets are padded
}

TEST(Saving, InPartsIsTheSameAndBecomesAModel) {
  console().set_quiet(true);
  const TemporaryFolder folder;
  RunConfig config = toy_run(folder.path(), 7);
  config.data.valid.clear();
  train_run(config, {.folder = folder / "whole"});
  const auto expected = last_tensors(folder / "whole");
  config.train.checkpoint_part_size = "1MiB";
  for (const int64_t updates : {3, 7}) {  // it goes on from parts
    config.train.duration.count = updates;
    train_run(config, {.folder = folder / "run"});
  }
  EXPECT_TRUE(last_tensors(folder / "run") == expected);
  const std::filesystem::path checkpoint = folder / "run/checkpoints/step-00000007";
  EXPECT_FALSE(std::filesystem::exists(checkpoint / "model.safetensors"));
  EXPECT_THAT(message_of<UserError>([&] { find_model(checkpoint); }), testing::HasSubstr("chorus import"));
  import_model(checkpoint, folder / "imported");
  EXPECT_TRUE(read_file(folder / "imported/model.safetensors") ==
              read_file(folder / "run/model/model.safetensors"));
  config.train.checkpoint_part_size = "";
  config.train.duration.count = 9;
  train_run(config, {.folder = folder / "run"});
  train_run(config, {.folder = folder / "whole"});
  EXPECT_TRUE(last_tensors(folder / "run") == last_tensors(folder / "whole"));
  config.train.checkpoint_part_size = "1kB";
  EXPECT_THAT(message_of<UserError>([&] { train_run(config, {.folder = folder / "run"}); }),
              testing::HasSubstr("train.checkpoint_part_size"));
}

TEST(Saving, WhatGoesWrongEndsTheRunAndLeavesTheCheckpointBefore) {
  console().set_quiet(true);
  const TemporaryFolder folder;
  RunConfig config = toy_run(folder.path(), 2);
  config.data.valid.clear();
  config.train.checkpoint_every = 1;
  const std::filesystem::path run = folder / "run";
  train_run(config, {.folder = run});
  const auto expected = last_tensors(run);
  config.train.duration.count = 50;
  const FileSizeLimit limit(20000);  // less than a checkpoint, more than the rest
  EXPECT_THAT(message_of<Error>([&] { train_run(config, {.folder = run}); }),
              testing::HasSubstr("cannot write " + (run / "checkpoints").string()));
  EXPECT_TRUE(last_tensors(run) == expected);
}

}  // namespace
}  // namespace chorus
