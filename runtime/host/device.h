// The host CPU as a device: picks the code object for this machine's features, loads it, runs
// phases on a pool of threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/abi/kernel_abi.h"
#include "runtime/plan/file.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

// CPU features of this machine by the names of /proc/cpuinfo ("flags" or "Features"); family as in
// CodeObject::family.
struct HostCpu {
  std::string family;
  std::string model_name;
  std::vector<std::string> features;
  int threads = 1;  // that the process may run on (affinity and cgroup limits counted)
};
HostCpu detect_host_cpu();
// Its parts. The text of /proc/cpuinfo to family, model name and features; `threads` is left at 1.
HostCpu parse_cpuinfo(std::string_view text);
// The names of AArch64's features that targets ask for, of AT_HWCAP's bits.
std::vector<std::string> hwcap_features(uint64_t bits);
// A control group's cpu.max, "<quota> <period>" in microseconds, to threads, rounded up;
// `unlimited` for "max" and for what cannot be read.
int parse_cpu_max(std::string_view text, int unlimited);

// The best code object of the plan for this machine: the last in the plan's order whose features
// are all there. Error lists what the plan has and what this CPU lacks.
Result<const CodeObject*> choose_code(const Plan& plan, const HostCpu& cpu);

// The plan's kernels, loaded. The object is written to a file without a name and opened with
// dlopen.
class HostCode {
 public:
  static Result<std::shared_ptr<const HostCode>> load(const PlanFile& file, const CodeObject& code);
  ~HostCode();
  PhaseFunction kernel(uint32_t index) const { return kernels_[index]; }

 private:
  HostCode() = default;
  // False: why not, for every place that was tried.
  bool open(std::span<const uint8_t> code, std::vector<std::string>& reasons);
  // Kept open as long as the code is loaded: dlopen knows objects by name, and a number used again
  // would give it the old one.
  int fd_ = -1;
  void* handle_ = nullptr;
  std::vector<PhaseFunction> kernels_;
};

// Workers that stay alive between steps. Worker 0 is the calling thread. The constructor throws
// std::system_error when threads cannot be started.
class ThreadPool {
 public:
  explicit ThreadPool(int workers);
  ~ThreadPool();
  int workers() const;
  // Runs f(worker) on every worker and returns when all are done. f must not throw; one `run` at a
  // time.
  void run(const std::function<void(int)>& f);
  // A barrier among the workers, for use inside `run`: spins briefly, then yields, so that an
  // oversubscribed machine still makes progress. What was written before it is seen after it.
  // Within one `run` every worker must call it as often as the others.
  void barrier(int worker);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sinter::runtime
