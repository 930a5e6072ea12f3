#include "runtime/host_device.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "tests/runtime/toy_plan.h"

namespace sinter::runtime {
namespace {

TEST(HostCpu, ReadsFeaturesOfBothFamilies) {
  const HostCpu x86 = parse_cpuinfo(
      "processor\t: 0\nmodel name\t: Some CPU @ 2GHz\nflags\t\t: fpu avx2  avx512f\nbugs\t: x\n\n"
      "processor\t: 1\nmodel name\t: Other\nflags\t: none\n");
  EXPECT_EQ(x86.model_name, "Some CPU @ 2GHz");
  EXPECT_EQ(x86.features, (std::vector<std::string>{"fpu", "avx2", "avx512f"}));
  const HostCpu arm =
      parse_cpuinfo("processor : 0\nFeatures\t: fp asimd asimddp\nHardware : board\n");
  EXPECT_EQ(arm.features, (std::vector<std::string>{"fp", "asimd", "asimddp"}));
  EXPECT_EQ(arm.model_name, "board");
  EXPECT_TRUE(parse_cpuinfo("").features.empty());
  EXPECT_TRUE(parse_cpuinfo("flags").features.empty());
}

TEST(HostCpu, NamesTheBitsOfAArch64) {
  EXPECT_EQ(hwcap_features(0), std::vector<std::string>());
  EXPECT_EQ(hwcap_features(1U << 1 | 1U << 20 | 1U << 31),
            (std::vector<std::string>{"asimd", "asimddp"}));
}

TEST(HostCpu, ControlGroupLimitsRoundUp) {
  EXPECT_EQ(parse_cpu_max("max 100000\n", 8), 8);
  EXPECT_EQ(parse_cpu_max("200000 100000\n", 8), 2);
  EXPECT_EQ(parse_cpu_max("150000 100000\n", 8), 2);
  EXPECT_EQ(parse_cpu_max("1000 100000\n", 8), 1);
  EXPECT_EQ(parse_cpu_max("100000 0\n", 8), 8);
  EXPECT_EQ(parse_cpu_max("100000", 8), 8);
  EXPECT_EQ(parse_cpu_max("", 8), 8);
}

TEST(HostCpu, ThisMachineHasThreadsAndAFamily) {
  const HostCpu cpu = detect_host_cpu();
  EXPECT_GE(cpu.threads, 1);
  EXPECT_LE(cpu.threads, static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  EXPECT_EQ(cpu.family.find("host-"), 0u);
}

Plan plan_with_code() {
  Plan plan;
  plan.code = {{"aarch64", "host-aarch64", {}, 0, {}, {}},
               {"x86-64-v3", "host-x86-64", {"avx2", "fma"}, 0, {}, {}},
               {"x86-64-v4", "host-x86-64", {"avx2", "avx512f", "avx512bw"}, 0, {}, {}}};
  return plan;
}

TEST(ChooseCode, TakesTheLastThatFits) {
  const Plan plan = plan_with_code();
  HostCpu cpu{"host-x86-64", "cpu", {"fma", "avx2", "avx512f"}, 1};
  ASSERT_TRUE(choose_code(plan, cpu).ok());
  EXPECT_EQ((*choose_code(plan, cpu))->target, "x86-64-v3");
  cpu.features.push_back("avx512bw");
  EXPECT_EQ((*choose_code(plan, cpu))->target, "x86-64-v4");
  cpu.family = "host-aarch64";
  EXPECT_EQ((*choose_code(plan, cpu))->target, "aarch64");
}

TEST(ChooseCode, SaysWhatThePlanHasAndTheCpuLacks) {
  const HostCpu cpu{"host-x86-64", "Old CPU", {"avx2"}, 1};
  const Plan plan = plan_with_code();
  const auto code = choose_code(plan, cpu);
  ASSERT_FALSE(code.ok());
  EXPECT_EQ(code.error().message,
            "the plan has no code for this machine (host-x86-64, Old CPU): aarch64 is for "
            "host-aarch64, x86-64-v3 needs fma, "
            "x86-64-v4 needs avx512f avx512bw; compile it again with --target host here");
}

class HostCodeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (toy::kernel_object().empty()) GTEST_SKIP() << "no C compiler here";
  }
  std::shared_ptr<const PlanFile> open(const std::function<void(Plan&)>& edit,
                                       std::string_view code) {
    EXPECT_EQ(toy::write_plan(path, edit, code), "");
    return *PlanFile::open(path, true);
  }
  std::string load_error(const PlanFile& file) {
    const auto code = HostCode::load(file, file.plan().code[0]);
    return code.ok() ? "" : code.error().message;
  }
  toy::Folder folder;
  std::string path = folder.file("toy.plan");
};

TEST_F(HostCodeTest, LoadsEveryKernel) {
  const auto file = open({}, toy::kernel_object());
  const auto code = HostCode::load(*file, file->plan().code[0]);
  ASSERT_TRUE(code.ok()) << code.error().message;
  for (uint32_t i = 0; i < 3; ++i) EXPECT_NE((*code)->kernel(i), nullptr);
}

// dlopen recognises objects by their names; those of anonymous files come again.
TEST_F(HostCodeTest, EveryLoadIsOfItsOwnCode) {
  const auto file = open({}, toy::kernel_object());
  const auto first = HostCode::load(*file, file->plan().code[0]);
  const auto second = HostCode::load(*file, file->plan().code[0]);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_NE((*first)->kernel(0), (*second)->kernel(0));
}

TEST_F(HostCodeTest, AMissingKernelIsNamed) {
  const auto file = open([](Plan& plan) { plan.device_plans[0].kernels[1].symbol = "toy_absent"; },
                         toy::kernel_object());
  EXPECT_NE(load_error(*file).find("code for toy: kernel toy_absent is missing"),
            std::string::npos);
}

TEST_F(HostCodeTest, CodeThatIsNoObjectIsAnError) {
  const auto file = open({}, "not an ELF file");
  const std::string error = load_error(*file);
  EXPECT_NE(error.find(path + ": code for toy: cannot be loaded"), std::string::npos) << error;
}

}  // namespace
}  // namespace sinter::runtime
