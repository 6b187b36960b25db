#include "chorus/parallel/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "chorus/base/error.h"

#include "temporary_folder.h"

namespace chorus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Mesh, EveryRankHoldsOnePartOfTheExperts) {
  const Mesh mesh = make_mesh({.ep = 4}, 8, 16);
  EXPECT_EQ(mesh.edp(), 2);
  std::vector<int> holders(4);
  for (int r = 0; r < mesh.world; ++r) {
    ++holders[mesh.ep_index(r)];
    EXPECT_EQ(r, mesh.edp_index(r) * mesh.ep + mesh.ep_index(r));
  }
  EXPECT_THAT(holders, ElementsAre(2, 2, 2, 2));
}

TEST(Mesh, WhatCannotBeIsRefusedWithWhatCan) {
  const auto refusal = [](int64_t ep, int world, int64_t experts) {
    return message_of<UserError>([&] { make_mesh({.ep = ep}, world, experts); });
  };
  EXPECT_THAT(refusal(3, 4, 8), HasSubstr("it must divide both, as 1 or 2 or 4 does"));
  EXPECT_THAT(refusal(4, 6, 8), HasSubstr("as 1 or 2 does"));
  EXPECT_THAT(refusal(2, 2, 0), HasSubstr("as 1 does"));
  EXPECT_THAT(refusal(16, 16, 8), HasSubstr("as 1 or 2 or 4 or 8 does"));
}

TEST(Mesh, IsDescribed) {
  EXPECT_TRUE(describe(make_mesh({}, 1, 8), 8).empty());
  EXPECT_THAT(
      describe(make_mesh({.ep = 2, .zero = 1}, 4, 8), 8),
      ElementsAre("4 processes, each with micro-batches of its own; ZeRO stage 1",
                  "experts 0 to 3 of each layer: rank 0, 2", "experts 4 to 7 of each layer: rank 1, 3"));
  EXPECT_THAT(describe(make_mesh({}, 2, 0), 0), ElementsAre(HasSubstr("2 processes")));
}

TEST(Parallel, AloneHoldsEverything) {
  const Parallel alone;
  EXPECT_EQ(alone.first_expert(8), 0);
  EXPECT_EQ(alone.expert_count(8), 8);
}

}  // namespace
}  // namespace chorus
