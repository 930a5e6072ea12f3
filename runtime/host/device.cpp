#include "runtime/host/device.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "runtime/support/temporary_file.h"

namespace sinter::runtime {
namespace {

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
