#include "base/cores.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include <gtest/gtest.h>
#include <sched.h>

#include "base/cgroups.h"
#include "data/text_folder.h"

namespace chorus {
namespace {

constexpr double kNoLimit = std::numeric_limits<double>::infinity();

/// A machine's files: what its /proc says, and cgroup files by name.
struct Machine : TextFolder {
  Machine(std::string_view cgroup, std::string_view mountinfo) {
    (void)file("proc/self/cgroup", cgroup);
    (void)file("proc/self/mountinfo", mountinfo);
  }
  [[nodiscard]] double quota() const { return cpu_quota(path()); }
};

constexpr std::string_view kSecond =
    "24 30 0:22 / /proc rw,nosuid - proc proc rw\n"
    "31 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(CpuQuota, IsTheLeastOfTheCgroupsAbove) {
  const Machine machine("0::/user.slice/job.scope\n", kSecond);
  EXPECT_EQ(machine.quota(), kNoLimit);  // no files
  (void)machine.file("sys/fs/cgroup/user.slice/job.scope/cpu.max", "max 100000\n");
  EXPECT_EQ(machine.quota(), kNoLimit);
  (void)machine.file("sys/fs/cgroup/user.slice/cpu.max", "250000 100000\n");
  EXPECT_EQ(machine.quota(), 2.5);
  (void)machine.file("sys/fs/cgroup/user.slice/job.scope/cpu.max", "50000 100000\n");
  EXPECT_EQ(machine.quota(), 0.5);
  (void)machine.file("sys/fs/cgroup/user.slice/job.scope/cpu.max", "800000 100000\n");
  EXPECT_EQ(machine.quota(), 2.5);
  (void)machine.file("sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_EQ(machine.quota(), 1);
}

TEST(MemoryQuota, IsTheLeastOfTheCgroupsAbove) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const Machine machine("0::/slurm/job_7\n", kSecond);
  const auto write = [&](const std::string& name, std::string_view text) {
    (void)machine.file("sys/fs/cgroup/" + name, text);
  };
  const auto is = [&](int64_t bytes, int64_t left) {
    const MemoryQuota quota = memory_quota(machine.path());
    return quota.bytes == bytes && quota.left == left;
  };
  EXPECT_TRUE(is(kMost, kMost));
  write("slurm/job_7/memory.max", "max\n");
  write("slurm/memory.max", "9000\n");
  EXPECT_TRUE(is(9000, kMost));
  write("slurm/memory.current", "5000\n");
  EXPECT_TRUE(is(9000, 4000));
  write("slurm/memory.stat", "anon 4000\ninactive_file 700\nactive_file 300\n");
  EXPECT_TRUE(is(9000, 4700));
  write("slurm/job_7/memory.max", "3000\n");
  write("slurm/job_7/memory.current", "3500\n");
  EXPECT_TRUE(is(3000, 0));
}

TEST(MemoryQuota, OfVersionOne) {
  const Machine docker("11:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n",
                       "9 8 0:3 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
  (void)docker.file("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n");
  (void)docker.file("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500\n");
  (void)docker.file("sys/fs/cgroup/memory/memory.stat", "inactive_file 9\ntotal_inactive_file 100\n");
  EXPECT_EQ(memory_quota(docker.path()).bytes, 2000);
  EXPECT_EQ(memory_quota(docker.path()).left, 600);
}

TEST(CpuQuota, InAContainerIsThatOfTheMount) {
  const Machine own("0::/\n", kSecond);  // with a cgroup namespace
  (void)own.file("sys/fs/cgroup/cpu.max", "300000 200000");
  EXPECT_EQ(own.quota(), 1.5);
  // Without one, of version 1: the host's path, of which the mount is a part.
  const Machine docker(
      "11:memory:/docker/1f\n4:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n0::/system.slice\n",
      "9 8 0:3 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
      "10 8 0:33 /docker/1f /sys/fs/cgroup/cpu,cpuacct ro master:11 - cgroup cgroup rw,cpu,cpuacct\n");
  EXPECT_EQ(docker.quota(), kNoLimit);
  (void)docker.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  (void)docker.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(docker.quota(), kNoLimit);
  (void)docker.file("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
  EXPECT_EQ(docker.quota(), 2);
  // A mount that is another's part: the limit of what can be seen.
  const Machine other("4:cpu:/kubepods/a\n", "10 8 0:33 /elsewhere /cg\\040cpu rw - cgroup cgroup rw,cpu\n");
  (void)other.file("cg cpu/cpu.cfs_quota_us", "50000\n");
  (void)other.file("cg cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(other.quota(), 0.5);
}

TEST(CpuQuota, BothVersionsAtOnce) {
  const Machine hybrid(
      "3:cpu:/a/b\n0::/a/b\n",
      "1 2 0:1 / /cg/cpu rw - cgroup cgroup rw,cpu\n1 2 0:1 / /cg/unified rw - cgroup2 cgroup2 rw\n");
  (void)hybrid.file("cg/cpu/a/cpu.cfs_quota_us", "400000");
  (void)hybrid.file("cg/cpu/a/cpu.cfs_period_us", "100000");
  EXPECT_EQ(hybrid.quota(), 4);
  (void)hybrid.file("cg/unified/a/b/cpu.max", "300000 100000");
  EXPECT_EQ(hybrid.quota(), 3);
}

TEST(CpuQuota, WhatIsNoNumberLimitsNothing) {
  EXPECT_EQ(cpu_quota("/nothing/here"), kNoLimit);
  for (const char* text :
       {"", "max", "0 100000", "-1 100000", "100000", "100000 0", "many few", "nan nan", "\n\n"}) {
    const Machine machine("0::/../../x\nnonsense\n:\n",
                          std::string(kSecond) + "nonsense\n - \n1 2 - cgroup2\n");
    (void)machine.file("sys/fs/cgroup/cpu.max", text);
    EXPECT_EQ(machine.quota(), kNoLimit) << text;
  }
}

TEST(Cores, AreSharedByThoseWhoMayUseThem) {
  EXPECT_EQ(share_of_cores("1111", {"1111"}, kNoLimit), 4);
  EXPECT_EQ(share_of_cores("1111", {"1111"}, 2.5), 2);
  EXPECT_EQ(share_of_cores("1111", {"1111"}, 0.5), 1);
  EXPECT_EQ(share_of_cores("1111", {"1111", "1111"}, kNoLimit), 2);
  EXPECT_EQ(share_of_cores("1111", {"1111", "1111", "1111"}, kNoLimit), 1);
  EXPECT_EQ(share_of_cores("111111", {"111111", "111111", "111111"}, kNoLimit), 2);
  EXPECT_EQ(share_of_cores("1111", {"1111", "1111"}, 3), 1);
  // Bound by mpirun: each has its own.
  EXPECT_EQ(share_of_cores("0011", {"11", "0011"}, kNoLimit), 2);
  EXPECT_EQ(share_of_cores("11", {"11", "0011"}, 3), 1);
  EXPECT_EQ(share_of_cores("0111", {"1", "0111", "0011"}, kNoLimit), 2);
  EXPECT_EQ(share_of_cores("1", {"1", "1", "1"}, kNoLimit), 1);
}

TEST(Cores, FollowAffinityAndOmpNumThreads) {
  const std::string all = cores();
  ASSERT_NE(all.find('1'), std::string::npos);
  cpu_set_t before, one;
  ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  CPU_SET(all.find('1'), &one);
  ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  const std::string set = std::getenv("OMP_NUM_THREADS") ? std::getenv("OMP_NUM_THREADS") : "";
  ::unsetenv("OMP_NUM_THREADS");
  EXPECT_EQ(std::ranges::count(cores(), '1'), 1);
  EXPECT_EQ(default_threads(), 1);
  EXPECT_FALSE(threads_are_set());
  for (const auto& [value, threads] : {std::pair{"7", 7}, {"3,2", 3}, {"0", 1}, {"x", 1}, {"", 1}}) {
    ::setenv("OMP_NUM_THREADS", value, 1);
    EXPECT_EQ(default_threads(), threads) << value;
  }
  set.empty() ? ::unsetenv("OMP_NUM_THREADS") : ::setenv("OMP_NUM_THREADS", set.c_str(), 1);
  ::sched_setaffinity(0, sizeof before, &before);
}

}  // namespace
}  // namespace chorus
