// doctor: what works on this machine.
#include <fmt/format.h>

#include <array>
#include <memory>

#include "runtime/gpu/device.h"
#include "runtime/host/bandwidth.h"
#include "runtime/host/device.h"
#include "runtime/host/memory.h"
#include "runtime/session/session.h"
#include "tools/command.h"
#include "tools/model_options.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Result;

std::vector<DoctorLine> examine_machine() {
  std::vector<DoctorLine> lines;
  const runtime::HostCpu cpu = runtime::detect_host_cpu();
  lines.push_back(
      {!cpu.family.empty(),
       fmt::format("CPU: {}, {}", cpu.model_name.empty() ? "unknown model" : cpu.model_name,
                   cpu.family)});
  lines.push_back(
      {!cpu.features.empty(),
       fmt::format("CPU features: {}", cpu.features.empty()
                                           ? "none known"
                                           : fmt::format("{}", fmt::join(cpu.features, " ")))});
  lines.push_back({cpu.threads > 0, fmt::format("threads: {}", cpu.threads)});
  const auto memory = runtime::available_memory();
  lines.push_back({memory.has_value(),
                   fmt::format("memory available: {}", memory ? size_text(*memory) : "not known")});
  constexpr uint64_t kStreamed = uint64_t{1} << 28;
  const double streaming = memory.value_or(kStreamed * 4) >= kStreamed * 2
                               ? runtime::measure_streaming_read(0, kStreamed)
                               : 0;
  lines.push_back({streaming > 0, streaming > 0
                                      ? fmt::format("streaming read: {:.1f} GB/s", streaming * 1e-9)
                                      : "streaming read: could not be measured"});
  return lines;
}

// The GPUs of a vendor, or why there are none.
Result<std::vector<runtime::DeviceInfo>> gpus_of(runtime::GpuVendor vendor) {
  const auto driver = runtime::open_gpu_driver(vendor);
  if (!driver.ok()) return driver.error();
  return runtime::list_gpus(*driver);
}

constexpr std::array vendors = {runtime::GpuVendor::amd, runtime::GpuVendor::nvidia};

// A machine without a GPU is in order.
std::vector<DoctorLine> examine_gpus() {
  std::vector<DoctorLine> lines;
  for (const runtime::GpuVendor vendor : vendors) {
    const auto gpus = gpus_of(vendor);
    if (!gpus.ok())
      lines.push_back({true, fmt::format("no {} GPU: {}", name(vendor), gpus.error().message)});
    else
      for (const runtime::DeviceInfo& gpu : *gpus) lines.push_back({true, device_text(gpu)});
  }
  return lines;
}

// Where the plan's code runs; when nowhere, why not.
std::vector<DoctorLine> examine_code(const runtime::PlanFile& file) {
  std::vector<DoctorLine> runs, refusals;
  const auto add = [&](const Result<const runtime::CodeObject*>& code, std::string_view where) {
    if (code.ok())
      runs.push_back(
          {true, fmt::format("{}: its code for {} runs {}", file.path(), (*code)->target, where)});
    else
      refusals.push_back({false, code.error().message});
  };
  const auto code = runtime::choose_code(file.plan(), runtime::detect_host_cpu());
  add(code, "here");
  if (code.ok()) {
    const auto loaded = runtime::HostCode::load(file, **code);
    runs.push_back({loaded.ok(), loaded.ok() ? fmt::format("{}: its code loads", file.path())
                                             : loaded.error().message});
  }
  for (const runtime::GpuVendor vendor : vendors) {
    const auto gpus = gpus_of(vendor);
    if (!gpus.ok()) continue;
    for (const runtime::DeviceInfo& gpu : *gpus)
      add(runtime::choose_gpu_code(file, gpu, vendor), "on " + gpu.id);
  }
  return runs.empty() ? refusals : runs;
}

// Whether the plan can run here.
Result<std::vector<DoctorLine>> examine_plan(const std::string& path) {
  auto file = runtime::PlanFile::open(path, true);
  if (!file.ok()) return file.error();
  const runtime::Plan& plan = (*file)->plan();
  std::vector<DoctorLine> lines;
  lines.push_back({true, fmt::format("{}: all checksums are right", path)});
  for (DoctorLine& line : examine_code(**file)) lines.push_back(std::move(line));
  const auto code = runtime::choose_code(plan, runtime::detect_host_cpu());
  const auto memory = runtime::available_memory();
  if (code.ok()) {
    const runtime::DevicePlan& device = plan.device_plans[(*code)->device_plan];
    const uint64_t needed = device.weight_bytes +
                            device.state_bytes(std::min<int64_t>(plan.max_context, 1024)) +
                            device.arena_bytes;
    lines.push_back(
        {!memory || needed <= *memory,
         fmt::format("{}: needs {} of memory with 1,024 positions", path, size_text(needed))});
  }
  return lines;
}

Result<int> doctor(const Program& program, const std::string& plan) {
  std::vector<DoctorLine> lines;
  if (!plan.empty()) {
    auto plan_lines = examine_plan(plan);
    if (!plan_lines.ok()) return plan_lines.error();
    lines = std::move(*plan_lines);
  }
  bool all_ok = true;
  const auto show = [&](const std::vector<DoctorLine>& list) {
    for (const DoctorLine& line : list) {
      output("{} {}\n", line.ok ? "ok    " : "not ok", printable(line.text));
      all_ok &= line.ok;
    }
  };
  show(examine_machine());
  show(examine_gpus());
  if (program.examine_compiler) show(program.examine_compiler());
  show(lines);
  return all_ok ? 0 : kExitCheckFailed;
}

}  // namespace

void add_doctor(CommandLine& line) {
  auto plan = std::make_shared<std::string>();
  const Program& program = line.program();
  CLI::App& app = line.add(
      "doctor",
      "Say what works on this machine, one line each: the CPU, threads, memory and its speed, "
      "GPUs" +
          std::string(program.examine_compiler ? ", the compiler, folders that must be writable"
                                               : "") +
          "; with a plan, whether it runs here. Exit code 1 when something does not work.",
      program.name + " doctor", [&program, plan] { return doctor(program, *plan); });
  app.add_option("PLAN", *plan, "A plan to look at, too");
}

}  // namespace sinter::tools
