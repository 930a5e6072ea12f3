#include "runtime/host/cpu.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

namespace sinter::runtime {
namespace {

using Names = std::vector<std::string>;

// As read on an AMD EPYC with Zen 4 under KVM, and the same without AVX-512.
constexpr X86Registers zen4{0xfffa3203, 0xf1bf07ab, 0x00405fc6, 0xe7};
constexpr X86Registers older{zen4.leaf1_ecx, zen4.leaf7_ebx & 0x0fdfffffU & ~0x00030000U, 0, 0x7};
const Names avx2_names{"fma", "avx", "f16c", "avx2", "bmi2"};

TEST(HostCpu, NamesTheBitsOfCpuid) {
  Names all = avx2_names;
  for (const char* name : {"f", "dq", "cd", "bw", "vl", "_vnni"})
    all.push_back(std::string("avx512") + name);
  EXPECT_EQ(x86_features(zen4), all);
  EXPECT_EQ(x86_features(older), avx2_names);
  EXPECT_EQ(x86_features({}), Names());
}

// Each bit by itself, as the manuals number them.
TEST(HostCpu, EveryFeatureIsOneBit) {
  const auto only = [](uint32_t leaf1_ecx, uint32_t leaf7_ebx, uint32_t leaf7_ecx) {
    return x86_features({leaf1_ecx, leaf7_ebx, leaf7_ecx, ~uint64_t{0}});
  };
  EXPECT_EQ(only(1U << 12, 0, 0), Names{"fma"});
  EXPECT_EQ(only(1U << 28, 0, 0), Names{"avx"});
  EXPECT_EQ(only(1U << 29, 0, 0), Names{"f16c"});
  EXPECT_EQ(only(0, 1U << 5, 0), Names{"avx2"});
  EXPECT_EQ(only(0, 1U << 8, 0), Names{"bmi2"});
  EXPECT_EQ(only(0, 1U << 16, 0), Names{"avx512f"});
  EXPECT_EQ(only(0, 1U << 17, 0), Names{"avx512dq"});
  EXPECT_EQ(only(0, 1U << 28, 0), Names{"avx512cd"});
  EXPECT_EQ(only(0, 1U << 30, 0), Names{"avx512bw"});
  EXPECT_EQ(only(0, 1U << 31, 0), Names{"avx512vl"});
  EXPECT_EQ(only(0, 0, 1U << 11), Names{"avx512_vnni"});
}

// A CPU has what its system saves when it switches threads: AVX is bits 1 and 2 of XCR0, AVX-512 is
// bits 5, 6 and 7 besides.
TEST(HostCpu, RegistersThatTheSystemDoesNotSaveCannotBeUsed) {
  X86Registers cpu = zen4;
  for (const uint64_t xcr0 : {0x07, 0x27, 0x67, 0xc7, 0xa7}) {
    cpu.xcr0 = xcr0;
    EXPECT_EQ(x86_features(cpu), avx2_names) << xcr0;
  }
  for (const uint64_t xcr0 : {0x00, 0x01, 0x03, 0xe1, 0xe3}) {
    cpu.xcr0 = xcr0;
    EXPECT_EQ(x86_features(cpu), Names{"bmi2"}) << xcr0;
  }
}

TEST(HostCpu, TheBrandIsTextInRegisters) {
  std::array<uint32_t, 12> registers{};
  EXPECT_EQ(x86_brand(registers), "");
  std::memcpy(registers.data(), "   Some CPU @ 2GHz  \0 rest", 27);
  EXPECT_EQ(x86_brand(registers), "Some CPU @ 2GHz");
  registers.fill(0x41414141);  // no end
  EXPECT_EQ(x86_brand(registers), std::string(48, 'A'));
}

TEST(HostCpu, NamesTheBitsOfAArch64) {
  EXPECT_EQ(aarch64_features(0), Names());
  EXPECT_EQ(aarch64_features(1U << 1 | 1U << 20 | 1U << 31), (Names{"asimd", "asimddp"}));
  EXPECT_EQ(aarch64_features(1U << 9 | 1U << 10), (Names{"fphp", "asimdhp"}));
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
#if defined(__x86_64__)
  // The compiler's own reading of CPUID.
  const auto has = [&](const char* name) { return std::ranges::count(cpu.features, name) == 1; };
  EXPECT_EQ(has("fma"), __builtin_cpu_supports("fma") != 0);
  EXPECT_EQ(has("avx2"), __builtin_cpu_supports("avx2") != 0);
  EXPECT_EQ(has("bmi2"), __builtin_cpu_supports("bmi2") != 0);
  EXPECT_EQ(has("avx512f"), __builtin_cpu_supports("avx512f") != 0);
  EXPECT_EQ(has("avx512bw"), __builtin_cpu_supports("avx512bw") != 0);
  EXPECT_EQ(has("avx512_vnni"), __builtin_cpu_supports("avx512vnni") != 0);
  EXPECT_NE(cpu.model_name, "");
#endif
}

}  // namespace
}  // namespace sinter::runtime
