#include "tools/phase_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

#include "runtime/plan/dependences.h"
#include "tools/report.h"
#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using Json = nlohmann::ordered_json;
using runtime::DevicePlan;
using runtime::Phase;

std::string argument_text(const DevicePlan& plan, const runtime::Argument& argument) {
  using Region = runtime::Argument::Region;
  const std::string offset = argument.offset == 0 ? "" : fmt::format("+{}", argument.offset);
  switch (argument.region) {
    case Region::weights:
      return fmt::format("weights+{}", argument.offset);
    case Region::state:
      return fmt::format("@{}{}", plan.states[argument.index].name, offset);
    case Region::arena:
      return fmt::format("arena+{}", argument.offset);
    case Region::logits:
      return "logits" + offset;
    case Region::hidden:
      return "hidden" + offset;
  }
  return "?";
}

std::string arguments_text(const DevicePlan& plan, const Phase& phase) {
  std::string text;
  for (const runtime::Argument& argument : phase.arguments)
    text += (text.empty() ? "" : ", ") + argument_text(plan, argument);
  return text;
}

std::string schedule_text(const DevicePlan& plan, const runtime::Schedule& schedule) {
  const std::vector<Phase>& phases = schedule.phases;
  uint64_t bytes = 0;
  double macs = 0, us = 0;
  std::string rows;
  for (size_t i = 0; i < phases.size(); ++i) {
    const Phase& phase = phases[i];
    bytes += phase.weight_bytes;
    macs += phase.operations;
    us += phase.predicted_us;
    rows += fmt::format("{:>5} {:<44} {:<34} {:>12} {:>14.0f} {:>9.2f}  {}  ({})\n", i,
                        printable(phase.name), printable(plan.kernels[phase.kernel].symbol),
                        phase.weight_bytes, phase.operations, phase.predicted_us,
                        arguments_text(plan, phase), printable(phase.what));
  }
  return fmt::format(
             "{}: {} phases, {} bytes of weights, {:.0f} multiply-adds per token, {:.1f} us "
             "predicted for a token\n{:>5} {:<44} {:<34} {:>12} {:>14} {:>9}  {}\n",
             printable(schedule.name), phases.size(), bytes, macs, us, "#", "phase", "kernel",
             "weight bytes", "multiply-adds", "us", "arguments (ops)") +
         rows;
}

Json phases_json(const DevicePlan& plan, const runtime::Schedule& schedule) {
  const auto before = runtime::dependences(plan, schedule);
  Json list = Json::array();
  for (const Phase& phase : schedule.phases) {
    Json arguments = Json::array();
    for (const runtime::Argument& argument : phase.arguments)
      arguments.push_back(argument_text(plan, argument));
    list.push_back({{"name", phase.name},
                    {"ops", phase.what},
                    {"kernel", plan.kernels[phase.kernel].symbol},
                    {"arguments", arguments},
                    {"after", before[list.size()]},
                    {"weight_bytes", phase.weight_bytes},
                    {"multiply_adds_per_token", phase.operations},
                    {"predicted_us", phase.predicted_us}});
  }
  return list;
}

// A string of DOT; a line break in it is one there.
std::string in_quotes(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
  }
  return out + '"';
}

// A row of the memory table: "offset bytes  buffer   first .. last".
struct Buffer {
  uint64_t offset = 0, bytes = 0;
  std::string name, first, last;
};

bool parse_buffer(const std::string& line, Buffer& buffer) {
  std::istringstream in(line);
  if (!(in >> buffer.offset >> buffer.bytes)) return false;
  std::string rest;
  std::getline(in, rest);
  const size_t dots = rest.rfind(" .. ");
  if (dots == std::string::npos) return false;
  buffer.last = rest.substr(dots + 4);
  const std::string before = rest.substr(0, dots);
  const size_t space = before.rfind(' ');
  if (space == std::string::npos) return false;
  buffer.first = before.substr(space + 1);
  buffer.name = before.substr(0, space);
  return !buffer.first.empty() && !buffer.last.empty();
}

std::string check_buffers(const std::vector<Buffer>& buffers, uint64_t arena,
                          const std::vector<std::string>& phases) {
  // A buffer may live up to the end of the step, after the last phase.
  const auto position = [&](const std::string& phase) {
    return static_cast<size_t>(std::find(phases.begin(), phases.end(), phase) - phases.begin());
  };
  for (size_t i = 0; i < buffers.size(); ++i) {
    const Buffer& a = buffers[i];
    if (a.bytes > arena || a.offset > arena - a.bytes)
      return fmt::format("buffer{} leaves the arena of {} bytes", a.name, arena);
    for (size_t j = 0; j < i; ++j) {
      const Buffer& b = buffers[j];
      const bool both_live =
          position(a.first) <= position(b.last) && position(b.first) <= position(a.last);
      if (both_live && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes)
        return fmt::format("buffers{} and{} share bytes while both live", b.name, a.name);
    }
  }
  return "";
}

}  // namespace

KernelTable kernel_table(const std::vector<runtime::Kernel>& kernels,
                         const std::vector<ScheduleKernels>& schedules) {
  KernelTable table;
  for (const runtime::Kernel& kernel : kernels)
    table.kernels.push_back({kernel.symbol, kernel.summary, std::vector<size_t>(schedules.size())});
  for (const auto& [name, used] : schedules) {
    for (const uint32_t kernel : used) ++table.kernels[kernel].phases[table.schedules.size()];
    table.schedules.push_back(name);
  }
  return table;
}

std::string kernels_text(const KernelTable& table) {
  std::string text = fmt::format("{:<40}", "kernel");
  for (const std::string& name : table.schedules) text += fmt::format("  {}", name);
  text += "  what\n";
  for (const KernelUse& kernel : table.kernels) {
    text += fmt::format("{:<40}", printable(kernel.symbol));
    for (size_t i = 0; i < table.schedules.size(); ++i)
      text += fmt::format(" {:>{}}", kernel.phases[i], table.schedules[i].size() + 1);
    text += fmt::format("  {}\n", printable(kernel.summary));
  }
  return text;
}

Json kernels_json(const KernelTable& table) {
  Json list = Json::array();
  for (const KernelUse& kernel : table.kernels) {
    Json row = {{"symbol", kernel.symbol}, {"summary", kernel.summary}};
    for (size_t i = 0; i < table.schedules.size(); ++i)
      row[table.schedules[i] + "_phases"] = kernel.phases[i];
    list.push_back(row);
  }
  return list;
}

std::string schedule_text(const DevicePlan& plan) {
  std::string text;
  for (const runtime::Schedule& schedule : plan.schedules)
    text += (text.empty() ? "" : "\n") + schedule_text(plan, schedule);
  return text;
}

Json schedule_json(const DevicePlan& plan) {
  Json all = Json::object();
  for (const runtime::Schedule& schedule : plan.schedules)
    all[schedule.name] = phases_json(plan, schedule);
  return all;
}

std::string schedule_dot(const DevicePlan& plan) {
  std::string text = "digraph schedules {\n  node [fontname=\"monospace\", shape=box];\n";
  for (size_t s = 0; s < plan.schedules.size(); ++s) {
    const runtime::Schedule& schedule = plan.schedules[s];
    const auto before = runtime::dependences(plan, schedule);
    text += fmt::format("  subgraph cluster_{} {{\n    label={};\n", s, in_quotes(schedule.name));
    for (size_t i = 0; i < schedule.phases.size(); ++i) {
      const Phase& phase = schedule.phases[i];
      text += fmt::format("    s{}p{} [label={}];\n", s, i,
                          in_quotes(fmt::format("{}\n{}", phase.name, phase.what)));
      for (const uint32_t earlier : before[i])
        text += fmt::format("    s{}p{} -> s{}p{};\n", s, earlier, s, i);
    }
    text += "  }\n";
  }
  return text + "}\n";
}

std::string check_schedule_text(const std::string& text, const DevicePlan& plan) {
  std::vector<const Phase*> expected;
  for (const runtime::Schedule& schedule : plan.schedules)
    for (const Phase& phase : schedule.phases) expected.push_back(&phase);
  std::istringstream in(text);
  std::string line;
  size_t found = 0;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    size_t number = 0;
    std::string name, kernel;
    if (!(words >> number >> name >> kernel)) continue;
    if (found == expected.size()) return "there are more rows than phases";
    const Phase& phase = *expected[found++];
    if (name != phase.name || kernel != plan.kernels[phase.kernel].symbol)
      return fmt::format("row {} is {} with {}, the plan has {}", number, name, kernel, phase.name);
  }
  return found == expected.size()
             ? ""
             : fmt::format("{} of {} phases are listed", found, expected.size());
}

std::string check_memory_text(const std::string& text,
                              const std::vector<std::vector<std::string>>& schedules) {
  constexpr std::string_view kArena = "arena of ";
  std::istringstream in(text);
  std::string line;
  for (const std::vector<std::string>& phases : schedules) {
    while (std::getline(in, line) && line.find(kArena) == std::string::npos) continue;
    if (!in) return "a table is missing";
    std::istringstream numbers(line.substr(line.find(kArena) + kArena.size()));
    std::string word;
    uint64_t arena = 0;
    size_t announced = 0;
    if (!(numbers >> arena >> word >> announced))
      return fmt::format("\"{}\" does not give the arena's size", line);
    std::vector<Buffer> buffers;
    while (buffers.size() < announced && std::getline(in, line))
      if (Buffer buffer; parse_buffer(line, buffer)) buffers.push_back(std::move(buffer));
    if (buffers.size() != announced)
      return fmt::format("{} of {} buffers are listed", buffers.size(), announced);
    if (std::string wrong = check_buffers(buffers, arena, phases); !wrong.empty()) return wrong;
  }
  return "";
}

}  // namespace sinter::tools
