#include "runtime/host/device.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>

#include "runtime/support/temporary_file.h"

namespace sinter::runtime {
namespace {

#if defined(__x86_64__)
constexpr std::string_view host_family = "host-x86-64";
#elif defined(__aarch64__)
constexpr std::string_view host_family = "host-aarch64";
#else
constexpr std::string_view host_family = "host-unknown";
#endif

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

bool has_feature(const HostCpu& cpu, std::string_view feature) {
  return std::find(cpu.features.begin(), cpu.features.end(), feature) != cpu.features.end();
}

std::string join(const std::vector<std::string>& names) {
  return fmt::format("{}", fmt::join(names, " "));
}

// Writes all bytes; false with errno set when that fails.
bool write_all(int fd, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return true;
}

std::string last_dl_error() {
  const char* message = ::dlerror();
  return message != nullptr ? message : "unknown reason";
}

}  // namespace

HostCpu parse_cpuinfo(std::string_view text) {
  HostCpu cpu;
  cpu.family = host_family;
  while (!text.empty()) {
    std::string_view line = take(text, '\n');
    const std::string_view key = trim(take(line, ':'));
    std::string_view value = trim(line);
    if (cpu.model_name.empty() && (key == "model name" || key == "Model" || key == "Hardware")) {
      cpu.model_name = value;
    }
    if ((key != "flags" && key != "Features") || !cpu.features.empty()) continue;
    while (!value.empty()) {
      const std::string_view feature = trim(take(value, ' '));
      if (!feature.empty()) cpu.features.emplace_back(feature);
    }
  }
  return cpu;
}

std::vector<std::string> hwcap_features(uint64_t bits) {
  static constexpr std::pair<int, const char*> kNames[] = {
      {1, "asimd"}, {9, "fphp"}, {10, "asimdhp"}, {20, "asimddp"}};
  std::vector<std::string> features;
  for (const auto& [bit, name] : kNames)
    if ((bits >> bit & 1) != 0) features.emplace_back(name);
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
  HostCpu cpu = parse_cpuinfo(read_text("/proc/cpuinfo").value_or(""));
#if defined(__aarch64__)
  // Under an emulator /proc/cpuinfo is the machine's, AT_HWCAP the emulated CPU's.
  cpu.features = hwcap_features(::getauxval(AT_HWCAP));
#endif
  cpu.threads = cgroup_threads(affinity_threads());
  return cpu;
}

Result<const CodeObject*> choose_code(const Plan& plan, const HostCpu& cpu) {
  const CodeObject* best = nullptr;
  std::vector<std::string> refusals;
  for (const CodeObject& code : plan.code) {
    if (code.family != cpu.family) {
      refusals.push_back(fmt::format("{} is for {}", code.target, code.family));
      continue;
    }
    std::vector<std::string> missing;
    for (const std::string& feature : code.features) {
      if (!has_feature(cpu, feature)) missing.push_back(feature);
    }
    if (missing.empty()) {
      best = &code;
    } else {
      refusals.push_back(fmt::format("{} needs {}", code.target, join(missing)));
    }
  }
  if (best != nullptr) return best;
  return Error{fmt::format(
      "the plan has no code for this machine ({}, {}): {}; compile it again with --target host "
      "here",
      cpu.family, cpu.model_name.empty() ? "unknown model" : cpu.model_name,
      refusals.empty() ? "it has none at all" : fmt::format("{}", fmt::join(refusals, ", ")))};
}

Result<std::shared_ptr<const HostCode>> HostCode::load(const PlanFile& file,
                                                       const CodeObject& code) {
  const auto fail = [&](std::string_view what, std::string_view why) {
    return Error{fmt::format("{}: code for {}: {}: {}", file.path(), code.target, what, why)};
  };
  if (Status status = file.check_code(code); !status.ok()) return status.error();
  const std::shared_ptr<HostCode> loaded(new HostCode());
  std::vector<std::string> reasons;
  if (!loaded->open(file.bytes(code.section), reasons))
    return fail("cannot be loaded", fmt::format("{}", fmt::join(reasons, "; ")));
  for (const Kernel& kernel : file.plan().device_plans[code.device_plan].kernels) {
    void* symbol = ::dlsym(loaded->handle_, kernel.symbol.c_str());
    if (symbol == nullptr) {
      return fail(fmt::format("kernel {} is missing", kernel.symbol),
                  "the plan is inconsistent; compile it again");
    }
    loaded->kernels_.push_back(reinterpret_cast<PhaseFunction>(symbol));
  }
  return std::shared_ptr<const HostCode>(loaded);
}

// Writes the code to files without a name until dlopen takes one: in memory, else in a folder for
// temporary files. A system may refuse each: memfd_create by a filter of system calls, code in a
// file system that is mounted noexec, files without a name where the file system has none.
bool HostCode::open(std::span<const uint8_t> code, std::vector<std::string>& reasons) {
  const auto refused = [&](const std::string& reason) {
    if (std::ranges::find(reasons, reason) == reasons.end()) reasons.push_back(reason);
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    return false;
  };
  const auto take = [&](int fd, const std::string& where, std::string path = {}) {
    fd_ = fd;
    if (fd_ < 0 || !write_all(fd_, code))
      return refused(fmt::format("{}: {}", where, std::strerror(errno)));
    if (path.empty()) path = fmt::format("/proc/self/fd/{}", fd_);
    handle_ = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ != nullptr) return true;
    const std::string reason = last_dl_error();
    return refused(reason.starts_with(path + ": ") ? reason.substr(path.size() + 2) : reason);
  };
  if (take(::memfd_create("sinter-kernels", MFD_CLOEXEC), "memfd_create")) return true;
  const std::string root = temporary_root();
  for (const std::string& folder : {root, std::string("/dev/shm"), std::string("/var/tmp")}) {
    if (take(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0700), folder)) return true;
    TemporaryFolder named;  // gone when this returns; the code stays mapped
    if (named.create(folder + "/sinter", 0700) != 0) continue;
    const std::string path = named.name() + "/kernels.so";
    if (take(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700), folder, path))
      return true;
  }
  return false;
}

HostCode::~HostCode() {
  if (handle_ != nullptr) ::dlclose(handle_);
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace sinter::runtime
