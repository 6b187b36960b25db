// Collectives against their definition, on however many ranks there are.
#include <chrono>
#include <numeric>
#include <string_view>
#include <thread>
#include <vector>

#include <ATen/Context.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/ranks.h"
#include "mpi/world.h"
#include "ranks/ranks.h"

namespace chorus {
namespace {

using ::testing::HasSubstr;

/// What rank r holds: known to all.
at::Tensor of_rank(int r, int64_t n, at::ScalarType type) {
  return at::arange(n).add(r + 1).remainder(13).sub(6).mul(r + 1).to(type);
}

at::Tensor sum_of_ranks(int64_t n, at::ScalarType type) {
  at::Tensor total = of_rank(0, n, type == at::kBFloat16 ? at::kFloat : type);
  for (int r = 1; r < ranks().size(); ++r) {
    total.add_(of_rank(r, n, total.scalar_type()));
  }
  return total.to(type);
}

constexpr int64_t kLarge = (4 << 20) + 3;  // two stretches, the last uneven

TEST(Group, AllReduceSums) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kBFloat16, at::kLong}) {
    for (const int64_t n : {int64_t{0}, int64_t{1}, int64_t{7}, int64_t{100'003}, kLarge}) {
      if (n == kLarge && type != at::kFloat) continue;
      const at::Tensor x = of_rank(ranks().rank(), n, type);
      ranks().all_reduce(x);
      EXPECT_TRUE(at::equal(x, sum_of_ranks(n, type))) << n << " of " << type;
    }
  }
}

TEST(Group, WorkOfOneRankMayTakeLongerThanTheTimeOut) {
  constexpr double kTimeout = 1, kDefault = 600;  // seconds
  ranks().set_timeout(kTimeout);
  std::vector<int> order;
  first_rank_first(ranks(), "long work", [&] {
    if (ranks().rank() == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    order.push_back(ranks().rank());
  });
  ranks().set_timeout(kDefault);
  EXPECT_EQ(order, std::vector<int>{ranks().rank()});
  EXPECT_EQ(ranks().sum(1), ranks().size());
}

TEST(Group, AllRanksGetTheSameBits) {
  const at::Tensor x = at::randn({70'001}).mul(1 + ranks().rank());
  ranks().all_reduce(x);
  const at::Tensor all = at::empty({ranks().size(), x.numel()});
  ranks().all_gather(all, x);
  for (int r = 0; r < ranks().size(); ++r) {
    EXPECT_TRUE(at::equal(all[r], x));
  }
}

TEST(Group, ReduceScatterGivesTheOwnPart) {
  for (const int64_t n : {int64_t{1}, int64_t{77}, int64_t{600'001}}) {
    const at::Tensor in = of_rank(ranks().rank(), n * ranks().size(), at::kFloat), out = at::empty({n});
    ranks().reduce_scatter(out, in);
    EXPECT_TRUE(
        at::equal(out, sum_of_ranks(n * ranks().size(), at::kFloat).narrow(0, n * ranks().rank(), n)));
  }
}

TEST(Group, AllGatherWorksInItsOwnPlace) {
  const at::Tensor all = at::zeros({ranks().size(), 5});
  const at::Tensor own = all[ranks().rank()];
  own.fill_(ranks().rank() + 1);
  ranks().all_gather(all, own);
  for (int r = 0; r < ranks().size(); ++r) {
    EXPECT_TRUE(at::equal(all[r], at::full({5}, r + 1.0)));
  }
}

TEST(Group, AllToAllSendsExactlyTheRowsNamed) {
  const int64_t size = ranks().size(), rank = ranks().rank();
  // Rank r sends (r + 2 q) mod 3 rows to q, so some send nothing.
  const auto rows = [](int64_t from, int64_t to) { return (from + 2 * to) % 3; };
  std::vector<int64_t> send, receive;
  std::vector<at::Tensor> sent, expected;
  for (int64_t r = 0; r < size; ++r) {
    send.push_back(rows(rank, r));
    receive.push_back(rows(r, rank));
    sent.push_back(at::full({send.back(), 4}, static_cast<double>(100 * rank + r)));
    expected.push_back(at::full({receive.back(), 4}, static_cast<double>(100 * r + rank)));
  }
  expected[rank].fill_(-2);  // a rank's own rows are left as they are
  const at::Tensor out = at::full({std::accumulate(receive.begin(), receive.end(), int64_t{0}), 4}, -2.0);
  const int64_t before = ranks().bytes_sent();
  ranks().all_to_all(out, receive, at::cat(sent), send);
  EXPECT_TRUE(at::equal(out, at::cat(expected)));
  const int64_t to_others = std::accumulate(send.begin(), send.end(), int64_t{0}) - send[rank];
  EXPECT_EQ(ranks().bytes_sent() - before, to_others * 4 * 4);
}

TEST(Group, DoesOnGpusWhatItDoesOnTheCpu) {
  if (at::getNumGPUs() < static_cast<size_t>(ranks().ranks_here())) GTEST_SKIP() << "fewer GPUs than ranks";
  const at::Device gpu = own_device("cuda", ranks());
  const int64_t size = ranks().size(), rank = ranks().rank();
  // Each operation writes `out` [size x 3, 50'000] and may change `in` of that size.
  const auto compare = [&](std::string_view what, const auto& operation) {
    const at::Tensor in = at::randn({size * 3, 50'000}).add(static_cast<double>(rank)),
                     out = at::zeros_like(in);
    const at::Tensor in_there = in.to(gpu), out_there = out.to(gpu);
    operation(out, in);
    operation(out_there, in_there);
    EXPECT_TRUE(at::equal(in_there.cpu(), in) && at::equal(out_there.cpu(), out)) << what;
  };
  const std::vector<int64_t> each(size, 3);
  compare("all_reduce", [&](const at::Tensor&, const at::Tensor& in) { ranks().all_reduce(in); });
  compare("all_reduce of little",
          [&](const at::Tensor&, const at::Tensor& in) { ranks().all_reduce(in[0][0]); });
  compare("reduce_scatter", [&](const at::Tensor& out, const at::Tensor& in) {
    ranks().reduce_scatter(out.narrow(0, 0, 3), in);
  });
  compare("all_gather",
          [&](const at::Tensor& out, const at::Tensor& in) { ranks().all_gather(out, in.narrow(0, 0, 3)); });
  compare("all_to_all",
          [&](const at::Tensor& out, const at::Tensor& in) { ranks().all_to_all(out, each, in, each); });
  compare("later", [&](const at::Tensor& out, const at::Tensor& in) {
    ranks().later([&] { ranks().all_to_all(out, each, in, each); }).get();
  });
}

TEST(Group, AllToAllGoesFromHostToHostInOneMessage) {
  const int size = ranks().size(), rank = ranks().rank();
  if (size < 4 || size % 2 != 0) GTEST_SKIP() << "two hosts of several ranks take 4 or more";
  std::vector<int> all(size), hosts(size);
  std::iota(all.begin(), all.end(), 0);
  for (int r = 0; r < size; ++r) hosts[r] = r < size / 2 ? 0 : 1;
  Group group = ranks().subset(all, "hosts");
  for (const int64_t most : {1, 3, 1000}) {
    // Some send nothing; with `most` 1, nobody sends anything.
    const auto rows = [most](int64_t from, int64_t to) { return (from + 2 * to) % most; };
    std::vector<int64_t> send, receive;
    std::vector<at::Tensor> sent;
    for (int r = 0; r < size; ++r) {
      send.push_back(rows(rank, r));
      receive.push_back(rows(r, rank));
      sent.push_back(at::full({send.back(), 3}, static_cast<double>(100 * rank + r)));
    }
    const at::Tensor in = at::cat(sent);
    const at::Tensor plain = at::zeros({std::accumulate(receive.begin(), receive.end(), int64_t{0}), 3});
    const at::Tensor in_steps = at::zeros_like(plain);
    group.set_hosts(std::vector<int>(size));
    group.all_to_all(plain, receive, in, send);
    group.set_hosts(hosts);
    const int64_t before = group.bytes_sent();
    group.all_to_all(in_steps, receive, in, send);
    EXPECT_TRUE(at::equal(plain, in_steps)) << most;
    // Sizes went to the other host: it is the path in two steps.
    EXPECT_GE(group.bytes_sent() - before, size / 2 * 8);
  }
}

TEST(Group, GathersTextAndAdds) {
  const std::vector<std::string> texts = ranks().gather_text(std::string(ranks().rank(), 'x'));
  for (int r = 0; r < ranks().size(); ++r) {
    EXPECT_EQ(texts[r], std::string(r, 'x'));
  }
  EXPECT_EQ(ranks().sum(0.5), 0.5 * ranks().size());
}

TEST(Group, WorkGivenToItRunsInOrderWhileOthersUseOtherGroups) {
  std::vector<int> all(ranks().size());
  std::iota(all.begin(), all.end(), 0);
  Group copy = ranks().subset(all, "copy");
  const at::Tensor x = at::full({1'000'000}, 1.0), y = at::full({3}, 2.0);
  std::future<void> first = copy.later([&] { copy.all_reduce(x); });
  std::future<void> second = copy.later([&] {
    x.add_(1);
    copy.all_reduce(x);
  });
  ranks().all_reduce(y);
  first.get();
  second.get();
  EXPECT_EQ(x[0].item<double>(), (ranks().size() + 1.0) * ranks().size());
  EXPECT_EQ(y[0].item<double>(), 2.0 * ranks().size());
  std::future<void> failed = copy.later([] { throw Error("broken"); });
  EXPECT_THROW(failed.get(), Error);
  copy.barrier("usable again");
}

TEST(Group, SubsetsAreGroupsOfTheirOwn) {
  const int rank = ranks().rank(), other = rank ^ 1;
  if (std::max(rank, other) >= ranks().size()) return;
  const std::vector<int> members = {std::max(rank, other),
                                    std::min(rank, other)};  // in an order of their own
  Group pair = ranks().subset(members, "pair");
  EXPECT_EQ(pair.rank(), rank > other ? 0 : 1);
  EXPECT_EQ(pair.sum(rank), rank + other);
}

TEST(Group, RanksThatDisagreeAreTold) {
  if (ranks().size() == 1) return;
  check_same_on_ranks(ranks(), "the colour", "red");
  const std::string mine = ranks().rank() == 1 ? "blue" : "red";
  try {
    check_same_on_ranks(ranks(), "the colour", mine);
    FAIL() << "nothing was thrown";
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 1 has the colour other than rank 0's: blue instead of red"));
  }
  const at::Tensor in = at::zeros({ranks().rank() == 0 ? 2 : 1});
  if (ranks().size() == 2) {
    const std::vector<int> both = {0, 1};
    Group pair = ranks().subset(both, "pair");  // of no use afterwards
    EXPECT_THROW(pair.all_gather(at::empty({2 * in.numel()}), in), Error);
  }
}

TEST(Group, NamesTheRanksThatDoNotCome) {
  if (ranks().size() < 3) return;
  std::vector<int> all(ranks().size());
  std::iota(all.begin(), all.end(), 0);
  Group late = ranks().subset(all, "late");
  late.set_timeout(1);
  if (ranks().rank() != 1) {
    try {
      late.barrier("the meeting");
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("the meeting in group late"));
      EXPECT_THAT(error.what(), HasSubstr("has waited 1 s"));
      EXPECT_THAT(error.what(), HasSubstr("for rank 1: dead"));
    }
    late.set_timeout(3600);  // what comes after does not wait again
    EXPECT_THROW(late.later([&] { late.barrier("the next"); }).get(), Error);
  }
  ranks().barrier("after the time-out");
}

}  // namespace
}  // namespace chorus
