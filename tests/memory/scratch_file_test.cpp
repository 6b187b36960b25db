#include "memory/scratch_file.h"

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "memory/disk_calls.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

constexpr size_t kBlock = ScratchFile::kBlock;

struct Block {
  explicit Block(size_t bytes) : data(static_cast<char*>(std::aligned_alloc(kBlock, bytes)), std::free) {}
  std::unique_ptr<char, decltype(&std::free)> data;
};

class ScratchFileTest : public testing::TestWithParam<ScratchFile::Engine> {
 protected:
  TemporaryFolder folder_;
};

TEST_P(ScratchFileTest, GivesBackWhatWasWrittenWithManyRequestsAtOnce) {
  ScratchFile file(folder_ / "new" / "folder", GetParam());
  EXPECT_TRUE(GetParam() == ScratchFile::Engine::best || !file.uses_io_uring());
  const size_t count = 200, bytes = 3 * kBlock;  // more than the kernel takes at once
  EXPECT_EQ(file.reserve(5), 0U);
  const uint64_t begin = file.reserve(count * bytes);
  EXPECT_EQ(begin, kBlock);  // whole blocks
  Block written(count * bytes), read(count * bytes);
  for (size_t i = 0; i < count * bytes; ++i) written.data.get()[i] = static_cast<char>(i * 7 / 3);
  std::vector<ScratchFile::Request> requests;
  for (size_t i = 0; i < count; ++i) {
    requests.push_back(file.write(begin + i * bytes, written.data.get() + i * bytes, bytes));
  }
  for (const ScratchFile::Request request : requests) file.wait(request);
  requests.clear();
  for (size_t i = 0; i < count; ++i) {
    requests.push_back(file.read(begin + i * bytes, read.data.get() + i * bytes, bytes));
  }
  for (size_t i = count; i-- > 0;) file.wait(requests[i]);  // in any order
  EXPECT_EQ(std::memcmp(written.data.get(), read.data.get(), count * bytes), 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder_ / "new" / "folder"));  // it has no name
}

// The kernel cancels what it has not begun when the thread that asked for it ends.
TEST_P(ScratchFileTest, RequestsOutliveTheThreadThatMadeThem) {
  ScratchFile file(folder_.path(), GetParam());
  const size_t count = 200, bytes = 64 * kBlock;
  const uint64_t begin = file.reserve(count * bytes);
  Block written(count * bytes), read(count * bytes);
  for (size_t i = 0; i < count * bytes; ++i) written.data.get()[i] = static_cast<char>(i * 5 / 3);
  file.wait(file.write(begin, written.data.get(), count * bytes));
  std::vector<ScratchFile::Request> requests;
  std::thread([&] {
    for (size_t i = 0; i < count; ++i)
      requests.push_back(file.read(begin + i * bytes, read.data.get() + i * bytes, bytes));
  }).join();
  for (const ScratchFile::Request request : requests) file.wait(request);
  EXPECT_EQ(std::memcmp(written.data.get(), read.data.get(), count * bytes), 0);
}

TEST_P(ScratchFileTest, SaysWhatFails) {
  ScratchFile file(folder_.path(), GetParam());
  file.reserve(kBlock);
  Block block(2 * kBlock);
  EXPECT_THROW(file.read(0, block.data.get() + 1, kBlock), Error);
  EXPECT_THROW(file.read(kBlock / 2, block.data.get(), kBlock), Error);
  EXPECT_THROW(file.wait(file.read(0, block.data.get(), 2 * kBlock)), Error);  // behind its end
  EXPECT_THROW(file.reserve(uint64_t{1} << 60), UserError);
  file.wait(file.write(0, block.data.get(), kBlock));  // goes on
}

INSTANTIATE_TEST_SUITE_P(Engines, ScratchFileTest,
                         testing::Values(ScratchFile::Engine::best, ScratchFile::Engine::thread));

// ---- faults, at each call that it makes of the system

constexpr DiskCalls kReal;

/// Calls that fail are put into disk_calls(); `faults` of each kind are left, `calls` counts all.
class ScratchFileFaults : public testing::Test {
 protected:
  ScratchFileFaults() { faults = calls = 0; }
  ~ScratchFileFaults() override { disk_calls() = kReal; }

  static bool fails() {
    ++calls;
    return faults > 0 && faults-- > 0;
  }

  /// Whether 100 writes and reads at once give back what was written.
  void expect_whole(ScratchFile::Engine engine = ScratchFile::Engine::best) {
    ScratchFile file(folder_.path(), engine);
    file.reserve(kCount * 2 * kBlock);
    Block written(kCount * 2 * kBlock), read(kCount * 2 * kBlock);
    for (size_t i = 0; i < kCount * 2 * kBlock; ++i) written.data.get()[i] = static_cast<char>(i * 7 / 3);
    std::vector<ScratchFile::Request> requests;
    for (size_t i = 0; i < kCount; ++i)
      requests.push_back(file.write(i * 2 * kBlock, written.data.get() + i * 2 * kBlock, 2 * kBlock));
    for (const ScratchFile::Request request : requests) file.wait(request);
    requests.clear();
    for (size_t i = 0; i < kCount; ++i)
      requests.push_back(file.read(i * 2 * kBlock, read.data.get() + i * 2 * kBlock, 2 * kBlock));
    for (size_t i = kCount; i-- > 0;) file.wait(requests[i]);
    EXPECT_EQ(std::memcmp(written.data.get(), read.data.get(), kCount * 2 * kBlock), 0);
  }

  static constexpr size_t kCount = 100;
  static int faults, calls;
  TemporaryFolder folder_;
};
int ScratchFileFaults::faults, ScratchFileFaults::calls;

TEST_F(ScratchFileFaults, WhatTheKernelDoesNotTakeIsDoneByOrdinaryCalls) {
  if (!ScratchFile(folder_.path()).uses_io_uring()) GTEST_SKIP() << "no io_uring here";
  for (const int error : {0, -EINTR, -EAGAIN, -EBUSY, -EBADR}) {
    static int result;
    result = error;
    disk_calls().submit = [](io_uring* ring) { return fails() ? result : kReal.submit(ring); };
    // One that fails; more than the ring holds, in the first half; all but the last few.
    for (const int count : {1, 70, error == -EINTR ? 70 : 195}) {
      faults = count;
      expect_whole();
      EXPECT_EQ(faults, 0);
    }
  }
}

TEST_F(ScratchFileFaults, WaitsAgainWhereTheKernelCannotWait) {
  if (!ScratchFile(folder_.path()).uses_io_uring()) GTEST_SKIP() << "no io_uring here";
  for (const int error : {-EINTR, -EAGAIN, -ENOMEM, -EBADF}) {
    static int result;
    result = error;
    disk_calls().next = [](io_uring* ring, io_uring_cqe** event, bool wait) {
      return wait && fails() ? result : kReal.next(ring, event, wait);
    };
    faults = 5;
    expect_whole();
    EXPECT_EQ(faults, 0);
  }
}

TEST_F(ScratchFileFaults, ARequestThatFailsIsToldOnceAndTheOthersAreWhole) {
  if (!ScratchFile(folder_.path()).uses_io_uring()) GTEST_SKIP() << "no io_uring here";
  disk_calls().next = [](io_uring* ring, io_uring_cqe** event, bool wait) {
    const int result = kReal.next(ring, event, wait);
    if (result == 0 && (*event)->user_data == 3 && fails()) (*event)->res = -EIO;
    return result;
  };
  ScratchFile file(folder_.path());
  file.reserve(8 * kBlock);
  Block block(kBlock);
  std::memset(block.data.get(), 7, kBlock);
  std::vector<ScratchFile::Request> requests;
  faults = 1;
  for (size_t i = 0; i < 8; ++i) requests.push_back(file.write(i * kBlock, block.data.get(), kBlock));
  for (size_t i = 0; i < 8; ++i) {
    if (requests[i] != 3) {
      file.wait(requests[i]);
      continue;
    }
    const std::string words = message_of<Error>([&] { file.wait(requests[i]); });
    EXPECT_NE(words.find("cannot write the scratch file"), std::string::npos) << words;
    EXPECT_NE(message_of<Error>([&] { file.wait(requests[i]); }).find("waited for already"),
              std::string::npos);
  }
  EXPECT_THROW(file.wait(99), Error);
  std::memset(block.data.get(), 0, kBlock);
  file.wait(file.read(7 * kBlock, block.data.get(), kBlock));
  EXPECT_EQ(block.data.get()[kBlock - 1], 7);
}

TEST_F(ScratchFileFaults, WhatIsReadOrWrittenInPartGoesOn) {
  if (ScratchFile(folder_.path()).uses_io_uring()) {
    disk_calls().next = [](io_uring* ring, io_uring_cqe** event, bool wait) {
      const int result = kReal.next(ring, event, wait);
      constexpr int kResults[] = {-EINTR, -EAGAIN, -ECANCELED, static_cast<int>(kBlock)};
      if (result == 0 && (*event)->res == 2 * kBlock && fails()) (*event)->res = kResults[faults % 4];
      return result;
    };
    faults = 30;
    expect_whole();
    EXPECT_EQ(faults, 0);
    disk_calls() = kReal;
  }
  disk_calls().read = [](int fd, void* data, size_t bytes, off_t offset) -> ssize_t {
    if (!fails()) return kReal.read(fd, data, bytes, offset);
    errno = EINTR;
    return faults % 2 == 0 ? -1 : kReal.read(fd, data, kBlock, offset);
  };
  disk_calls().write = [](int fd, const void* data, size_t bytes, off_t offset) -> ssize_t {
    if (!fails()) return kReal.write(fd, data, bytes, offset);
    errno = EAGAIN;
    return faults % 2 == 0 ? -1 : kReal.write(fd, data, kBlock, offset);
  };
  faults = 150;  // all writes, and some reads
  expect_whole(ScratchFile::Engine::thread);
  EXPECT_EQ(faults, 0);
}

TEST_F(ScratchFileFaults, TheThreadTellsWhatFails) {
  ScratchFile file(folder_.path(), ScratchFile::Engine::thread);
  file.reserve(kBlock);
  Block block(kBlock);
  disk_calls().write = [](int, const void*, size_t, off_t) -> ssize_t {
    errno = EIO;
    return -1;
  };
  disk_calls().read = [](int, void*, size_t, off_t) -> ssize_t { return 0; };
  for (const auto request :
       {file.write(0, block.data.get(), kBlock), file.read(0, block.data.get(), kBlock)}) {
    EXPECT_NE(message_of<Error>([&] { file.wait(request); }).find("Input/output error"), std::string::npos);
    EXPECT_THROW(file.wait(request), Error);
  }
  disk_calls() = kReal;
  file.wait(file.write(0, block.data.get(), kBlock));
}

TEST_F(ScratchFileFaults, WithoutIoUringNamelessFilesOrSpace) {
  disk_calls().begin = [](unsigned, io_uring*, unsigned) { return -ENOSYS; };
  EXPECT_FALSE(ScratchFile(folder_.path()).uses_io_uring());
  expect_whole();
  disk_calls() = kReal;
  disk_calls().open = [](const char*, int, mode_t) {
    errno = faults;
    return -1;
  };
  faults = EOPNOTSUPP;
  expect_whole();
  EXPECT_TRUE(std::filesystem::is_empty(folder_.path()));
  faults = EMFILE;
  EXPECT_NE(message_of<UserError>([&] { const ScratchFile file(folder_.path()); }).find("memory.folder"),
            std::string::npos);
  disk_calls() = kReal;
  disk_calls().allocate = [](int, off_t, off_t) { return ENOSPC; };
  ScratchFile file(folder_.path());
  EXPECT_NE(message_of<UserError>([&] { file.reserve(1); }).find("cannot set 4.0 KiB aside"),
            std::string::npos);
  disk_calls().allocate = [](int fd, off_t, off_t) {  // interrupted once
    static bool interrupted = false;
    return std::exchange(interrupted, true) ? ::ftruncate(fd, 4096) : EINTR;
  };
  EXPECT_EQ(file.reserve(1), 0U);
  disk_calls().allocate = [](int, off_t, off_t) { return ENOSPC; };
  EXPECT_THROW(file.reserve(1), UserError);
  EXPECT_EQ(file.size(), 4096U);
}

TEST_F(ScratchFileFaults, NobodyIsKeptFromTheFileByOneWhoWaits) {
  if (!ScratchFile(folder_.path()).uses_io_uring()) GTEST_SKIP() << "no io_uring here";
  static std::atomic<bool> waiting, go_on;
  waiting = go_on = false;
  disk_calls().next = [](io_uring* ring, io_uring_cqe** event, bool wait) {
    for (waiting = waiting || wait; wait && !go_on;) std::this_thread::yield();  // a slow disk
    return kReal.next(ring, event, wait);
  };
  ScratchFile file(folder_.path());
  file.reserve(2 * kBlock);
  Block block(2 * kBlock);
  std::memset(block.data.get(), 5, 2 * kBlock);
  std::jthread other([&] { file.wait(file.write(0, block.data.get(), kBlock)); });
  while (!waiting) std::this_thread::yield();
  const ScratchFile::Request second = file.write(kBlock, block.data.get() + kBlock, kBlock);  // comes back
  EXPECT_EQ(file.traffic().written, 2 * kBlock);
  go_on = true;
  file.wait(second);
}

TEST(ScratchFile, NeedsAFolderItCanWriteTo) {
  EXPECT_THROW(ScratchFile("/proc/nothing/here"), UserError);
}

}  // namespace
}  // namespace chorus
