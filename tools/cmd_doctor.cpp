// doctor: what works on this machine.
#include <fmt/format.h>

#include <memory>

#include "runtime/host_device.h"
#include "runtime/host_memory.h"
#include "runtime/session.h"
#include "tools/command.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::Result;

// Features that a target in the table may ask for.
std::string interesting_features(const runtime::HostCpu& cpu) {
  std::string text;
  for (const std::string& feature : cpu.features) {
    bool interesting = false;
    for (const char* start : {"avx", "fma", "f16c", "bmi2", "amx", "asimd", "fphp", "sve", "i8mm"})
      interesting |= feature.starts_with(start);
    if (interesting) text += (text.empty() ? "" : " ") + feature;
  }
  return text;
}

std::vector<DoctorLine> examine_machine() {
  std::vector<DoctorLine> lines;
  const runtime::HostCpu cpu = runtime::detect_host_cpu();
  lines.push_back({!cpu.family.empty(), fmt::format("CPU: {}, {}", cpu.model_name, cpu.family)});
  const std::string features = interesting_features(cpu);
  lines.push_back({!features.empty(),
                   fmt::format("CPU features: {}", features.empty() ? "none known" : features)});
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

// Whether the plan can run here.
Result<std::vector<DoctorLine>> examine_plan(const std::string& path) {
  auto file = runtime::PlanFile::open(path, true);
  if (!file.ok()) return file.error();
  const runtime::Plan& plan = (*file)->plan();
  std::vector<DoctorLine> lines;
  lines.push_back({true, fmt::format("{}: all checksums are right", path)});
  const auto code = runtime::choose_code(plan, runtime::detect_host_cpu());
  lines.push_back(
      {code.ok(), code.ok() ? fmt::format("{}: its code for {} runs here", path, (*code)->target)
                            : code.error().message});
  if (code.ok()) {
    const auto loaded = runtime::HostCode::load(**file, **code);
    lines.push_back({loaded.ok(), loaded.ok() ? fmt::format("{}: its code loads", path)
                                              : loaded.error().message});
  }
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
      "Say what works on this machine, one line each: the CPU, threads, memory and its speed" +
          std::string(program.examine_compiler ? ", the compiler, folders that must be writable"
                                               : "") +
          "; with a plan, whether it runs here. Exit code 1 when something does not work.",
      program.name + " doctor", [&program, plan] { return doctor(program, *plan); });
  app.add_option("PLAN", *plan, "A plan to look at, too");
}

}  // namespace sinter::tools
