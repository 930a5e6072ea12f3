// The CPU that the process runs on, and how much of it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sinter::runtime {

// Features have Linux's names and are those that a target may ask for (codegen/targets/target.h);
// family as in CodeObject::family.
struct HostCpu {
  std::string family;
  std::string model_name;  // empty where it is not known
  std::vector<std::string> features;
  int threads = 1;  // that the process may run on (affinity and cgroup limits counted)
};
HostCpu detect_host_cpu();
int usable_processors();  // `threads` alone, as it is now

// Its parts. What CPUID and XGETBV say on x86-64.
struct X86Registers {
  uint32_t leaf1_ecx = 0;
  uint32_t leaf7_ebx = 0, leaf7_ecx = 0;  // of subleaf 0
  uint64_t xcr0 = 0;  // which registers the system saves; 0 where it does not use XSAVE
};
std::vector<std::string> x86_features(const X86Registers& registers);
// The model's name in leaves 0x80000002 to 0x80000004: EAX, EBX, ECX, EDX of each.
std::string x86_brand(const std::array<uint32_t, 12>& registers);
// Of AT_HWCAP's bits on AArch64.
std::vector<std::string> aarch64_features(uint64_t hwcap);
// A control group's cpu.max, "<quota> <period>" in microseconds, to threads, rounded up;
// `unlimited` for "max" and for what cannot be read.
int parse_cpu_max(std::string_view text, int unlimited);

}  // namespace sinter::runtime
