#include <fstream>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "chorus/base/error.h"
#include "chorus/memory/arrays.h"
#include "chorus/memory/config.h"
#include "chorus/memory/stash.h"
#include "chorus/memory/usage.h"

#include "base/scratch_calls.h"
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
  count_device_memory(0);
  const MemoryUse before = device_memory();
  restart_peaks();
  {
    const at::Tensor x = at::empty({1 << 20}), y = x.clone();
    EXPECT_GE(device_memory().now - before.now, 2 * 4 << 20);
  }
  EXPECT_EQ(device_memory().now, before.now);
  EXPECT_GE(device_memory().peak - before.now, 2 * 4 << 20);
  EXPECT_LT(device_memory().peak - before.now, 2.1 * (4 << 20));

  count_device_memory(before.now + (6 << 20));
  const at::Tensor x = at::empty({1 << 20});
  EXPECT_THROW(x.clone(), Error);
  EXPECT_EQ(x.sum().numel(), 1);  // goes on
  const MemoryUse host = host_memory();
  const at::Tensor elsewhere = allocate_on_host(1 << 20, at::kFloat);  // not the device's
  EXPECT_GE(host_memory().now - host.now, 4 << 20);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(elsewhere.data_ptr()) % ScratchFile::kBlock, 0U);
  count_device_memory(0);
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
  EXPECT_EQ(arrays.whole().defined(), GetParam() != Tier::nvme);
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
  const ScratchCalls real;
  scratch_calls().write = [](int, const void*, size_t, off_t) -> ssize_t {
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
  scratch_calls() = real;
}

TEST(Stash, GivesBackWhatWasPutInAnyOrderAndUsesItsFileAgain) {
  const TemporaryFolder folder;
  for (const Tier tier : {Tier::host, Tier::nvme}) {
    Stash stash(tier, folder.path());
    uint64_t on_disk = 0;
    for (int round = 0; round < 3; ++round) {
      std::vector<at::Tensor> values;
      std::vector<Stash::Ticket> tickets;
      for (int64_t i = 0; i < 20; ++i) {
        const at::Tensor x = at::randn({i, 3, 1000}).to(i % 2 == 0 ? at::kFloat : at::kBFloat16);
        values.push_back(x);
        tickets.push_back(stash.put(i % 3 == 0 ? x.transpose(0, 1).contiguous().transpose(0, 1) : x));
      }
      for (size_t i = 20; i-- > 0;) {
        const size_t at = (i * 7 + 3) % 20;
        if (i % 4 == 0) stash.prefetch(tickets[at]);
        const at::Tensor x = stash.take(tickets[at]);
        EXPECT_EQ(x.scalar_type(), values[at].scalar_type());
        EXPECT_TRUE(at::equal(x, values[at])) << at;
      }
      if (round == 0) on_disk = stash.bytes_on_disk();
      EXPECT_EQ(stash.bytes_on_disk(), on_disk);
    }
    EXPECT_EQ(on_disk > 0, tier == Tier::nvme);
    stash.put(at::ones({1000}));  // never taken
  }
}

INSTANTIATE_TEST_SUITE_P(Tiers, ArraysTest, testing::Values(Tier::device, Tier::host, Tier::nvme));

}  // namespace
}  // namespace chorus
