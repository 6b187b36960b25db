#include "state/stash.h"

#include <filesystem>
#include <fstream>

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

TEST(Stash, GivesBackWhatWasPutInAnyOrderAndUsesItsFileAgain) {
  const TemporaryFolder folder;
  for (const Tier tier : {Tier::host, Tier::nvme}) {
    TierStash stash(tier, folder.path());
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

TEST(Stash, NoticesADiskThatGivesBackOtherBytes) {
  const TemporaryFolder folder;
  TierStash stash(Tier::nvme, folder.path());
  std::vector<Stash::Ticket> tickets;
  for (int i = 0; i < 12; ++i) tickets.push_back(stash.put(at::full({4096}, i)));
  const std::string place = std::filesystem::canonical(folder.path()).string();
  int files = 0;
  for (const auto& open : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code closed;  // that of the iterator
    if (!std::filesystem::read_symlink(open.path(), closed).string().starts_with(place)) continue;
    std::fstream file(open.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file << "other bytes";
    files += file.flush() ? 1 : 0;
  }
  ASSERT_EQ(files, 1);
  EXPECT_THROW(stash.take(tickets[0]), Error);
  EXPECT_TRUE(at::equal(stash.take(tickets[1]), at::full({4096}, 1)));
}

}  // namespace
}  // namespace chorus
