#include "state/stash.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace chorus
