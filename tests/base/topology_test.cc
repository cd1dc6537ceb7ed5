// SPDX-License-Identifier: Apache-2.0
#include "base/topology.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/cgroup.h"

namespace weft {
namespace {

TEST(Topology, IsPlausible) {
  const Topology& t = topology();
  EXPECT_FALSE(t.cpu_model.empty());
  EXPECT_GE(t.hardware_threads, 1);
  EXPECT_GE(t.hardware_threads, t.cores);
  // 0 means unknown: without /sys (a bare chroot) hwloc sees threads only.
  for (const std::int64_t value : {std::int64_t{t.packages}, std::int64_t{t.cores}, t.l1d_bytes,
                                   t.l2_bytes, t.l3_bytes, t.memory_bytes})
    EXPECT_GE(value, 0);
  EXPECT_EQ(t.l3_caches > 0, t.l3_bytes > 0);
}

TEST(Topology, UsableCpusAreWithinTheAffinityMask) {
  const Topology& t = topology();
  ASSERT_FALSE(t.allowed_cpus.empty());
  EXPECT_TRUE(std::is_sorted(t.allowed_cpus.begin(), t.allowed_cpus.end()));
  EXPECT_GE(t.usable_cpus, 1);
  EXPECT_LE(t.usable_cpus, static_cast<int>(t.allowed_cpus.size()));
  EXPECT_GE(t.shared_cpus, t.usable_cpus);
  if (const auto quota = cgroup_cpu_quota()) {
    EXPECT_LT(t.usable_cpus, *quota + 1);
  }
}

TEST(Topology, EveryCpuIsInANode) {
  std::vector<int> cpus;
  for (const NumaNode& node : topology().numa_nodes) {
    EXPECT_GE(node.memory_bytes, 0);
    cpus.insert(cpus.end(), node.cpus.begin(), node.cpus.end());
  }
  if (topology().numa_nodes.empty()) GTEST_SKIP() << "hwloc sees no NUMA nodes here";
  EXPECT_GE(static_cast<int>(cpus.size()), topology().hardware_threads);
}

// A file tree with its own /proc and /sys.
class CgroupTest : public testing::Test {
 protected:
  CgroupTest() {
    std::string name = testing::TempDir() + "weft_cgroup_XXXXXX";
    root_ = mkdtemp(name.data());
  }
  ~CgroupTest() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root_ + path).parent_path());
    std::ofstream(root_ + path) << text;
  }
  std::string root_;
};

TEST_F(CgroupTest, NoFilesNoQuota) { EXPECT_EQ(cgroup_cpu_quota(root_), std::nullopt); }

TEST_F(CgroupTest, Version2) {
  write("/proc/self/cgroup", "0::/user.slice/job\n");
  write("/proc/self/mountinfo",
        "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");
  write("/sys/fs/cgroup/user.slice/job/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_), std::nullopt);
  write("/sys/fs/cgroup/user.slice/job/cpu.max", "150000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_), 1.5);
}

TEST_F(CgroupTest, Version2ParentsCountToo) {
  write("/proc/self/cgroup", "0::/a/b/c\n");
  write("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  write("/sys/fs/cgroup/a/b/c/cpu.max", "800000 100000\n");
  write("/sys/fs/cgroup/a/cpu.max", "300000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_), 3);
}

TEST_F(CgroupTest, Version1) {
  write("/proc/self/cgroup", "7:memory:/job\n4:cpu,cpuacct:/job\n2:cpuset:/\n");
  write("/proc/self/mountinfo",
        "31 24 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n"
        "32 24 0:28 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        "33 24 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:6 - cgroup cgroup rw,cpu,cpuacct\n");
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(cgroup_cpu_quota(root_), std::nullopt);
  write("/sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_), 2.5);
}

TEST_F(CgroupTest, ContainerThatSeesTheHostsPath) {
  write("/proc/self/cgroup", "0::/docker/abc/inner\n");
  write("/proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_), 2);
  write("/sys/fs/cgroup/inner/cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_), 0.5);
}

TEST_F(CgroupTest, PathOutsideTheMountUsesTheMount) {
  write("/proc/self/cgroup", "0::/../../other\n");
  write("/proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
  write("/sys/fs/cgroup/cpu.max", "400000 100000\n");
  EXPECT_EQ(cgroup_cpu_quota(root_), 4);
}

}  // namespace
}  // namespace weft
