#include "runtime/host/cpu.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace sinter::runtime {
namespace {

std::optional<std::string> read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}

// Takes the text up to `separator` (or all of it) off the front.
std::string_view take(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return taken;
}

int affinity_threads() {
  // The kernel refuses a mask smaller than its own, which may be larger than cpu_set_t.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(cpus);
    const int rc = ::sched_getaffinity(0, bytes, set);
    const int count = rc == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// The tightest cpu.max from this process's control group (version 2) up to the root.
int cgroup_threads(int limit) {
  const std::optional<std::string> groups = read_text("/proc/self/cgroup");
  if (!groups) return limit;
  std::string_view lines = *groups;
  std::string path;
  while (!lines.empty()) {
    const std::string_view line = take(lines, '\n');
    if (line.starts_with("0::/")) path = line.substr(3);
  }
  while (true) {
    if (const auto text = read_text("/sys/fs/cgroup" + path + "/cpu.max")) {
      limit = std::min(limit, parse_cpu_max(*text, limit));
    }
    if (path.empty()) return limit;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

#if defined(__x86_64__)
X86Registers read_registers() {
  constexpr uint32_t osxsave = 1U << 27;
  X86Registers r;
  uint32_t eax = 0, ebx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &r.leaf1_ecx, &edx) == 0) return r;
  if (__get_cpuid_count(7, 0, &eax, &r.leaf7_ebx, &r.leaf7_ecx, &edx) == 0)
    r.leaf7_ebx = r.leaf7_ecx = 0;
  if ((r.leaf1_ecx & osxsave) != 0) {
    uint32_t low = 0, high = 0;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    r.xcr0 = uint64_t{high} << 32 | low;
  }
  return r;
}

std::string read_brand() {
  std::array<uint32_t, 12> words{};
  for (uint32_t i = 0; i < 3; ++i) {
    uint32_t* w = &words[size_t{i} * 4];
    if (__get_cpuid(0x80000002 + i, &w[0], &w[1], &w[2], &w[3]) == 0) return {};
  }
  return x86_brand(words);
}
#endif

}  // namespace

std::vector<std::string> x86_features(const X86Registers& registers) {
  // XCR0's bits for the registers of SSE and AVX, and for those of AVX-512 too.
  constexpr uint64_t none = 0, avx = 0x06, avx512 = 0xe6;
  struct Feature {
    const char* name;
    uint32_t X86Registers::* word;
    int bit;
    uint64_t state;  // that the system must save
  };
  static constexpr Feature table[] = {
      {"fma", &X86Registers::leaf1_ecx, 12, avx},
      {"avx", &X86Registers::leaf1_ecx, 28, avx},
      {"f16c", &X86Registers::leaf1_ecx, 29, avx},
      {"avx2", &X86Registers::leaf7_ebx, 5, avx},
      {"bmi2", &X86Registers::leaf7_ebx, 8, none},
      {"avx512f", &X86Registers::leaf7_ebx, 16, avx512},
      {"avx512dq", &X86Registers::leaf7_ebx, 17, avx512},
      {"avx512cd", &X86Registers::leaf7_ebx, 28, avx512},
      {"avx512bw", &X86Registers::leaf7_ebx, 30, avx512},
      {"avx512vl", &X86Registers::leaf7_ebx, 31, avx512},
      {"avx512_vnni", &X86Registers::leaf7_ecx, 11, avx512},
  };
  std::vector<std::string> features;
  for (const Feature& f : table)
    if ((registers.*f.word >> f.bit & 1) != 0 && (registers.xcr0 & f.state) == f.state)
      features.emplace_back(f.name);
  return features;
}

std::string x86_brand(const std::array<uint32_t, 12>& registers) {
  std::string text(sizeof(registers), 0);
  std::memcpy(text.data(), registers.data(), text.size());
  text.resize(std::min(text.find('\0'), text.size()));
  return std::string(trim(text));
}

std::vector<std::string> aarch64_features(uint64_t hwcap) {
  static constexpr std::pair<int, const char*> table[] = {
      {1, "asimd"}, {9, "fphp"}, {10, "asimdhp"}, {20, "asimddp"}};
  std::vector<std::string> features;
  for (const auto& [bit, name] : table)
    if ((hwcap >> bit & 1) != 0) features.emplace_back(name);
  return features;
}

int parse_cpu_max(std::string_view text, int unlimited) {
  const std::string_view line = take(text, '\n');
  int64_t quota = 0, period = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), quota);
  if (error != std::errc() || quota <= 0) return unlimited;  // "max 100000"
  const std::string_view rest = trim(line.substr(static_cast<size_t>(end - line.data())));
  if (std::from_chars(rest.data(), rest.data() + rest.size(), period).ec != std::errc() ||
      period <= 0) {
    return unlimited;
  }
  const int64_t threads = quota / period + (quota % period != 0 ? 1 : 0);
  return static_cast<int>(std::clamp<int64_t>(threads, 1, 1 << 20));
}

HostCpu detect_host_cpu() {
  HostCpu cpu;
#if defined(__x86_64__)
  cpu.family = "host-x86-64";
  cpu.model_name = read_brand();
  cpu.features = x86_features(read_registers());
#elif defined(__aarch64__)
  cpu.family = "host-aarch64";
  // Of boards; servers have none.
  cpu.model_name = read_text("/sys/firmware/devicetree/base/model").value_or("").c_str();
  cpu.features = aarch64_features(::getauxval(AT_HWCAP));
#else
  cpu.family = "host-unknown";
#endif
  cpu.threads = usable_processors();
  return cpu;
}

int usable_processors() { return cgroup_threads(affinity_threads()); }

}  // namespace sinter::runtime
