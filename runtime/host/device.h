// The host CPU as a device: picks the code object for this machine's features and loads it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/abi/kernel_abi.h"
#include "runtime/host/cpu.h"
#include "runtime/plan/file.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

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

}  // namespace sinter::runtime
