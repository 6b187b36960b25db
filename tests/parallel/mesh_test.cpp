#include "parallel/mesh.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "temporary_folder.h"

namespace chorus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Mesh, EveryRankHoldsOnePartOfTheExperts) {
  const Mesh mesh = make_mesh({.ep = 4}, 8, {.experts = 16});
  EXPECT_EQ(mesh.edp(), 2);
  std::vector<int> holders(4);
  for (int r = 0; r < mesh.world; ++r) {
    ++holders[mesh.ep_index(r)];
    EXPECT_EQ(r, mesh.edp_index(r) * mesh.ep + mesh.ep_index(r));
  }
  EXPECT_THAT(holders, ElementsAre(2, 2, 2, 2));
}

TEST(Mesh, EveryPartOfEveryExpertAndOfTheDenseLayersIsHeldAlikeOften) {
  const Mesh mesh = make_mesh({.ep = 2, .etp = 2, .tp = 4}, 8, {.experts = 8, .heads = 4, .ffn = 8});
  EXPECT_EQ(mesh.dp(), 2);
  EXPECT_EQ(mesh.edp(), 2);
  std::map<std::pair<int, int>, int> experts;
  std::map<int, int> dense;
  for (int r = 0; r < mesh.world; ++r) {
    ++experts[{mesh.ep_index(r), mesh.etp_index(r)}];
    ++dense[mesh.tp_index(r)];
    EXPECT_EQ(r, (mesh.edp_index(r) * mesh.ep + mesh.ep_index(r)) * mesh.etp + mesh.etp_index(r));
    EXPECT_EQ(r, mesh.dp_index(r) * mesh.tp + mesh.tp_index(r));
  }
  EXPECT_THAT(experts, testing::Each(testing::Field(&std::pair<const std::pair<int, int>, int>::second, 2)));
  EXPECT_THAT(dense, testing::Each(testing::Field(&std::pair<const int, int>::second, 2)));
}

TEST(Mesh, WhatCannotBeIsRefusedWithWhatCan) {
  const auto refusal = [](const ParallelConfig& config, int world, int64_t experts) {
    return message_of<UserError>(
        [&] { make_mesh(config, world, {.experts = experts, .heads = 4, .ffn = 24}); });
  };
  EXPECT_THAT(refusal({.ep = 3}, 4, 8), HasSubstr("it must divide both, as 1 or 2 or 4 does"));
  EXPECT_THAT(refusal({.ep = 4}, 6, 8), HasSubstr("as 1 or 2 does"));
  EXPECT_THAT(refusal({.ep = 2}, 2, 0), HasSubstr("as 1 does"));
  EXPECT_THAT(refusal({.ep = 16}, 16, 8), HasSubstr("as 1 or 2 or 4 or 8 does"));
  EXPECT_THAT(
      refusal({.tp = 3}, 6, 8),
      HasSubstr(
          "parallel.tp = 3 does not go with 6 processes, 4 attention heads and feed-forward networks of "
          "width 24: it must divide the first two, and the networks be wide enough, as 1 or 2 does"));
  EXPECT_THROW(make_mesh({.tp = 4}, 4, {.heads = 4, .ffn = 3}), UserError);
  EXPECT_THAT(refusal({.ep = 2, .etp = 3}, 8, 8),
              HasSubstr("parallel.etp = 3 does not go with 8 processes, parallel.ep = 2"));
  EXPECT_THAT(refusal({.ep = 2, .etp = 3}, 8, 8), HasSubstr("as 1 or 2 or 4 does"));
}

TEST(Mesh, PartsAreNearlyEqual) {
  int64_t next = 0;
  for (int i = 0; i < 4; ++i) {
    const Stretch part = part_of(10, i, 4);
    EXPECT_EQ(part.first, next);
    EXPECT_THAT(part.count, testing::AnyOf(2, 3));
    next += part.count;
  }
  EXPECT_EQ(next, 10);
}

TEST(Mesh, IsDescribed) {
  EXPECT_TRUE(summary(make_mesh({}, 1, {.experts = 8}), 8).empty());
  EXPECT_THAT(
      summary(make_mesh({.ep = 2, .zero = 1}, 4, {.experts = 8}), 8),
      ElementsAre("4 processes, ZeRO stage 1; each has micro-batches of its own",
                  "experts 0 to 3 of each layer: rank 0, 2", "experts 4 to 7 of each layer: rank 1, 3"));
  EXPECT_THAT(summary(make_mesh({}, 2, {}), 0), ElementsAre(HasSubstr("2 processes")));
  EXPECT_THAT(
      summary(make_mesh({.etp = 2, .tp = 2}, 4, {.experts = 8, .heads = 2, .ffn = 2}), 8),
      ElementsAre("4 processes, ZeRO stage 0; every 2 share their micro-batches",
                  "part 1 of 2 of the dense layers: rank 0, 2", "part 2 of 2 of the dense layers: rank 1, 3",
                  "part 1 of 2 of experts 0 to 7 of each layer: rank 0, 2",
                  "part 2 of 2 of experts 0 to 7 of each layer: rank 1, 3"));
}

TEST(Parallel, AloneHoldsEverything) {
  const Parallel alone;
  EXPECT_EQ(alone.first_expert(8), 0);
  EXPECT_EQ(alone.expert_count(8), 8);
  EXPECT_TRUE(alone.holds_everything());
}

}  // namespace
}  // namespace chorus
