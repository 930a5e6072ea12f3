// How much memory there is, as control groups limit it.
#include "runtime/host/memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

class CgroupMemory : public testing::Test {
 protected:
  void group(const std::string& path, const std::string& limit, const std::string& usage,
             const std::string& stat, bool v1 = false) const {
    const std::string at = folder.file(path);
    std::filesystem::create_directories(at);
    toy::write_file(at + (v1 ? "/memory.limit_in_bytes" : "/memory.max"), limit + "\n");
    toy::write_file(at + (v1 ? "/memory.usage_in_bytes" : "/memory.current"), usage + "\n");
    toy::write_file(at + "/memory.stat", stat);
  }
  std::optional<uint64_t> left(std::string_view groups) const {
    return cgroup_memory(groups, folder.path());
  }
  toy::Folder folder;
};

TEST_F(CgroupMemory, Version2TakesTheTightestGroupOnTheWayUp) {
  group("a", "1000", "400", "anon 100\ninactive_file 150\nactive_file 7\n");
  group("a/b", "max", "300", "inactive_file 0\n");
  group("a/b/c", "5000", "100", "inactive_file 0\n");
  EXPECT_EQ(left("0::/a/b/c\n"), 750u);  // of /a, whose idle cache counts as free
  group("a/b/c", "500", "100", "inactive_file 0\n");
  EXPECT_EQ(left("0::/a/b/c\n"), 400u);
  EXPECT_EQ(left("0::/\n"), std::nullopt);
}

TEST_F(CgroupMemory, OfAContainerTheRootIsTheGroup) {
  group("", "4096", "96", "");
  EXPECT_EQ(left("0::/docker/0123abcd\n"), 4000u);
  EXPECT_EQ(left("0::/\n"), 4000u);
}

TEST_F(CgroupMemory, Version1IsKnownByItsController) {
  group("memory/x", "2000", "500", "cache 1\ntotal_inactive_file 100\n", true);
  group("memory", "9223372036854771712", "900", "", true);  // no limit
  EXPECT_EQ(left("7:cpu,cpuacct:/y\n4:memory:/x\n1:name=systemd:/z\n0::/\n"), 1600u);
  EXPECT_EQ(left("7:cpu:/x\n"), std::nullopt);
}

TEST_F(CgroupMemory, MoreInUseThanAllowedLeavesNothing) {
  group("a", "1000", "1400", "inactive_file 150\n");
  EXPECT_EQ(left("0::/a"), 0u);
  group("a", "1000", "400", "inactive_file 900\n");
  EXPECT_EQ(left("0::/a"), 1000u);
}

TEST_F(CgroupMemory, WhatCannotBeReadIsNoLimit) {
  EXPECT_EQ(left(""), std::nullopt);
  EXPECT_EQ(left("nonsense\n0:\n::\n"), std::nullopt);
  group("a", "many", "1", "");
  EXPECT_EQ(left("0::/a\n"), std::nullopt);
}

TEST(HostMemory, ThisMachineHasSome) {
  const auto available = available_memory();
  ASSERT_TRUE(available.has_value());
  EXPECT_GT(*available, 1u << 20);
  EXPECT_LE(*available, *total_memory());
}

TEST(HostMemory, ALimitOfTheAddressSpaceCounts) {
  constexpr uint64_t kLeft = uint64_t{256} << 20;
  uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_AS, &before), 0);
  rlimit tight = before;
  tight.rlim_cur = pages * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) + kLeft;
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &tight), 0);
  const auto available = available_memory();
  ASSERT_EQ(::setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_TRUE(available && *available <= kLeft);
}

}  // namespace
}  // namespace sinter::runtime
