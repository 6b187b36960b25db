#include <fstream>

#include <ATen/Functions.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "memory/arrays.h"
#include "memory/config.h"
#include "memory/disk_calls.h"
#include "memory/usage.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

TEST(Bytes, AreReadAsPeopleWriteThem) {
  EXPECT_EQ(parse_bytes("", "x"), 0);
  EXPECT_EQ(parse_bytes("2GiB", "x"), int64_t{2} << 30);
  EXPECT_EQ(parse_bytes("1.5 kB", "x"), 1500);
  EXPECT_EQ(parse_bytes("40GB", "x"), 40'000'000'000);
  for (const char* wrong : {"2", "GiB", "2 GiBs", "-1GB", "nanGB", "1e30TB", "0GB"}) {
    EXPECT_THROW(parse_bytes(wrong, "memory.device_budget"), UserError) << wrong;
  }
}

TEST(Usage, CountsWhatIsHeldAndRefusesMoreThanTheBudget) {
  at::Allocator* const allocator = c10::GetCPUAllocator();
  auto counting = std::make_unique<DeviceMemoryCount>(0);
  const MemoryUse before = device_memory();
  restart_peaks();
  {
    const at::Tensor x = at::empty({1 << 20}), y = x.clone();
    EXPECT_GE(device_memory().now - before.now, 2 * 4 << 20);
  }
  EXPECT_EQ(device_memory().now, before.now);
  EXPECT_GE(device_memory().peak - before.now, 2 * 4 << 20);
  EXPECT_LT(device_memory().peak - before.now, 2.1 * (4 << 20));

  counting = nullptr;
  EXPECT_EQ(c10::GetCPUAllocator(), allocator) << "the process has its own again";
  counting = std::make_unique<DeviceMemoryCount>(before.now + (6 << 20));
  const at::Tensor x = at::empty({1 << 20});
  EXPECT_THROW(x.clone(), Error);
  EXPECT_EQ(x.sum().numel(), 1);  // goes on
  const MemoryUse host = host_memory();
  const at::Tensor elsewhere = allocate_on_host(1 << 20, at::kFloat);  // not the device's
  EXPECT_GE(host_memory().now - host.now, 4 << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(elsewhere.data_ptr()) % ScratchFile::kBlock, 0U);
}

class ArraysTest : public testing::TestWithParam<Tier> {
 protected:
  void store_and_load(const Arrays::Cuts& cuts, at::ScalarType type);
  TemporaryFolder folder_;
  ScratchFile file_{folder_.path()};
};

void ArraysTest::store_and_load(const Arrays::Cuts& cuts, at::ScalarType type) {
  const int64_t elements = cuts.back();
  Arrays arrays(GetParam(), 3, cuts, type, at::kCPU, &file_),
      other(GetParam(), 1, {0, 5}, type, at::kCPU, &file_);
  ASSERT_EQ(arrays.chunks(), std::ssize(cuts) - 1);
  const at::Tensor expected = at::randn({3, elements}).to(type);
  for (int round = 0; round < 2; ++round) {
    for (int64_t c = 0; c < arrays.chunks(); ++c) {
      const at::Tensor part = expected.narrow(1, arrays.first(c), arrays.size(c));
      const at::Tensor chunk = round == 0 ? arrays.load(c) : arrays.blank(c);
      if (round == 0) {
        EXPECT_TRUE(at::equal(chunk, at::zeros_like(chunk)));  // at first
      }
      chunk.copy_(part);
      arrays.store(c, chunk);
    }
    other.store(0, other.load(0).fill_(3));
    arrays.prefetch(1);
    for (int64_t c = 0; c < arrays.chunks(); ++c) {
      EXPECT_TRUE(at::equal(arrays.load(c), expected.narrow(1, arrays.first(c), arrays.size(c)))) << c;
    }
    EXPECT_TRUE(at::equal(other.load(0), at::full({1, 5}, 3, type)));
    expected.add_(1);
  }
  arrays.finish();
}

TEST_P(ArraysTest, GiveBackWhatWasStoredChunkByChunk) {
  const int64_t elements = 2 * Arrays::kChunk + 77;
  const Arrays::Cuts even = {0, Arrays::kChunk, 2 * Arrays::kChunk, elements};
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    store_and_load(even, type);
    store_and_load({0, 3, 70'001, elements}, type);
  }
}

TEST(Arrays, NoticeADiskThatGivesBackOtherBytes) {
  const TemporaryFolder folder;
  ScratchFile file(folder.path());
  Arrays arrays(Tier::nvme, 1, {0, 5000}, at::kFloat, at::kCPU, &file);
  arrays.store(0, arrays.blank(0).fill_(1));
  arrays.finish();
  EXPECT_EQ(arrays.load(0).sum().item<float>(), 5000);
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    const std::string name = std::filesystem::read_symlink(entry.path(), ignored).string();
    if (name.starts_with(folder.path().string())) std::ofstream(entry.path()).write("damaged", 7);
  }
  EXPECT_THROW(arrays.load(0), Error);
}

TEST(Arrays, AWriteThatFailsIsToldOnce) {
  const TemporaryFolder folder;
  const DiskCalls real;
  disk_calls().write = [](int, const void*, size_t, off_t) -> ssize_t {
    errno = EIO;
    return -1;
  };
  ScratchFile file(folder.path(), ScratchFile::Engine::thread);
  {
    Arrays arrays(Tier::nvme, 1, {0, 5000, 10000}, at::kFloat, at::kCPU, &file);
    arrays.store(0, arrays.blank(0).fill_(1));
    arrays.store(1, arrays.blank(1).fill_(1));
    EXPECT_NE(message_of<Error>([&] { arrays.finish(); }).find("cannot write the scratch file"),
              std::string::npos);
    EXPECT_THROW(arrays.finish(), Error);  // the other's
    arrays.finish();
    arrays.store(0, arrays.blank(0).fill_(1));
  }  // which nobody has waited for
  disk_calls() = real;
}

INSTANTIATE_TEST_SUITE_P(Tiers, ArraysTest, testing::Values(Tier::device, Tier::host, Tier::nvme));

}  // namespace
}  // namespace chorus
