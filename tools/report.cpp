#include "tools/report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include "tools/terminal.h"

namespace sinter::tools {
namespace {

using runtime::DevicePlan;
using runtime::Plan;

const std::vector<runtime::Phase>& decode_phases(const DevicePlan& plan) {
  return plan.phases_for(runtime::Schedule::Entry::main, 1);
}

double seconds_per_token(const DevicePlan& plan) {
  double us = 0;
  for (const runtime::Phase& phase : decode_phases(plan)) us += phase.predicted_us;
  return us * 1e-6;
}

// "weight<512x256, symmetric b1 g128 f16>" -> "symmetric b1 g128 f16", vectors' formats marked.
std::string format_of(const std::string& type) {
  const size_t comma = type.find(", ");
  const size_t end = type.rfind('>');
  if (comma == std::string::npos || end == std::string::npos || end < comma) return type;
  const bool is_matrix = type.substr(0, comma).find('x') != std::string::npos;
  return type.substr(comma + 2, end - comma - 2) + (is_matrix ? "" : " (vectors)");
}

std::string join_targets(const Plan& plan, size_t device_plan) {
  std::string text;
  for (const runtime::CodeObject& code : plan.code)
    if (code.device_plan == device_plan)
      text += fmt::format("{}{} ({} of {})", text.empty() ? "" : ", ", code.target,
                          size_text(code.section.bytes),
                          code.family != "nvptx"   ? "code"
                          : code.resources.empty() ? "PTX"
                                                   : "cubin");
  return text;
}

std::string prediction(const DevicePlan& plan, std::string_view target,
                       const std::optional<Rates>& rates) {
  const double seconds = seconds_per_token(plan);
  const auto bytes = static_cast<double>(weight_bytes_per_token(plan));
  const double macs = macs_per_token(plan);
  std::string text = fmt::format("per token       reads {} of weights, {:.1f} M multiply-adds\n",
                                 size_text(weight_bytes_per_token(plan)), macs * 1e-6);
  if (seconds > 0)
    text += fmt::format("predicted       {:.1f} tokens/s ({:.1f} us per token){}\n", 1 / seconds,
                        seconds * 1e6, target.empty() ? "" : fmt::format(" on {}", target));
  if (!rates || bytes <= 0)
    return text +
           "read floor      bytes per token / the machine's bandwidth; `bench` measures both\n";
  const double floor = bytes / rates->bandwidth_gbs * 1e-9;
  double reading = 0,
         multiplying = 0;  // seconds in phases that wait for memory, or for multipliers
  for (const runtime::Phase& phase : decode_phases(plan)) {
    const double read = static_cast<double>(phase.weight_bytes) / rates->bandwidth_gbs * 1e-9;
    const double multiply = phase.operations / rates->gmacs * 1e-9;
    (read >= multiply ? reading : multiplying) += std::max(read, multiply);
  }
  text += fmt::format("read floor      {:.1f} tokens/s: {} at {:.0f} GB/s\n", 1 / floor,
                      size_text(weight_bytes_per_token(plan)), rates->bandwidth_gbs);
  text += fmt::format(
      "why             {:.1f} us in phases that wait for memory, {:.1f} us in phases that wait for "
      "multiplying ({:.0f} G/s), {:.1f} us in barriers\n",
      reading * 1e6, multiplying * 1e6, rates->gmacs,
      std::max(0.0, seconds - reading - multiplying) * 1e6);
  return text;
}

std::string weights_by_format(const DevicePlan& plan) {
  struct Class {
    size_t count = 0;
    uint64_t bytes = 0;
    double bits = 0;
  };
  std::map<std::string, Class> classes;
  for (const runtime::PlanWeight& weight : plan.weights) {
    Class& c = classes[format_of(weight.type)];
    ++c.count;
    c.bytes += weight.bytes;
    c.bits = weight.bits;
  }
  std::string text = "weights as stored\n";
  for (const auto& [format, c] : classes)
    text += fmt::format("  {:<36} {:>6} {:>12}  {:.3f} bits per weight\n", printable(format),
                        c.count, size_text(c.bytes), c.bits);
  return text;
}

}  // namespace

std::string size_text(uint64_t bytes) {
  const auto number = static_cast<double>(bytes);
  if (bytes < 1000) return fmt::format("{} B", bytes);
  if (bytes < 1'000'000) return fmt::format("{:.1f} kB", number * 1e-3);
  if (bytes < 1'000'000'000) return fmt::format("{:.1f} MB", number * 1e-6);
  return fmt::format("{:.2f} GB", number * 1e-9);
}

std::string count_text(uint64_t number) {
  std::string text = fmt::format("{}", number);
  for (size_t at = text.size(); at > 3; at -= 3) text.insert(at - 3, ",");
  return text;
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int64_t layer_of(std::string_view name) {
  constexpr std::string_view kLayers = "layers.";
  size_t at = name.find(kLayers);
  while (at != std::string_view::npos && at != 0 && name[at - 1] != '.')
    at = name.find(kLayers, at + 1);
  if (at == std::string_view::npos) return -1;
  int64_t layer = -1;
  for (size_t i = at + kLayers.size(); i < name.size() && layer < 1'000'000; ++i) {
    if (std::isdigit(static_cast<unsigned char>(name[i])) == 0) break;
    layer = std::max<int64_t>(layer, 0) * 10 + (name[i] - '0');
  }
  return layer;
}

PhasesPerLayer phases_per_layer(const DevicePlan& plan) {
  std::map<int64_t, int64_t> counts;
  for (const runtime::Phase& phase : decode_phases(plan))
    if (const int64_t layer = layer_of(phase.name); layer >= 0) ++counts[layer];
  PhasesPerLayer result;
  for (const auto& [layer, count] : counts) {
    result.fewest = result.fewest == 0 ? count : std::min(result.fewest, count);
    result.most = std::max(result.most, count);
  }
  return result;
}

uint64_t weight_bytes_per_token(const DevicePlan& plan) {
  uint64_t bytes = 0;
  for (const runtime::Phase& phase : decode_phases(plan)) bytes += phase.weight_bytes;
  return bytes;
}

double macs_per_token(const DevicePlan& plan) {
  double macs = 0;
  for (const runtime::Phase& phase : decode_phases(plan)) macs += phase.operations;
  return macs;
}

std::string state_formats(const DevicePlan& plan) {
  std::set<std::string> formats;
  for (const runtime::PlanState& state : plan.states)
    if (state.bytes_per_position != 0) formats.insert(state.format);
  return fmt::format("{}", fmt::join(formats, ", "));
}

namespace {

// Kernels of a code object; shared memory counts what the launch asks for.
std::string resources_text(const DevicePlan& device, const runtime::CodeObject& code) {
  std::vector<uint32_t> shared(device.kernels.size(), 0);
  for (const runtime::Schedule& schedule : device.schedules)
    for (const runtime::Phase& phase : schedule.phases)
      shared[phase.kernel] = std::max(shared[phase.kernel], phase.shared_bytes);
  std::string text = fmt::format("\n{:<40} {:>6} {:>6} {:>8} {:>8} {:>10}\n", "on " + code.target,
                                 "VGPRs", "SGPRs", "shared", "scratch", "waves/SIMD");
  for (size_t i = 0; i < code.resources.size(); ++i) {
    const runtime::KernelResources& r = code.resources[i];
    text += fmt::format("  {:<38} {:>6} {:>6} {:>8} {:>8} {:>10}\n",
                        printable(device.kernels[i].symbol), r.vgprs, r.sgprs,
                        r.shared_bytes + shared[i], r.scratch_bytes, r.occupancy);
  }
  return text;
}

std::string device_summary(const Plan& plan, size_t index, const std::optional<Rates>& rates) {
  const DevicePlan& device = plan.device_plans[index];
  const auto parameters = static_cast<uint64_t>(std::max<int64_t>(plan.parameters, 0));
  const auto context = static_cast<uint64_t>(std::max<int64_t>(plan.max_context, 0));
  const double bits = parameters == 0 ? 0
                                      : 8 * static_cast<double>(device.weight_bytes) /
                                            static_cast<double>(parameters);
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{:<16}{}\n", name, printable(value));
  };
  line(device.device, join_targets(plan, index));
  const auto memory = [&](const std::string& name, uint64_t bytes, const std::string& remark) {
    std::string row = fmt::format("  {:<36} {:>19}  {}", name, size_text(bytes), remark);
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + "\n";
  };
  memory("weights", device.weight_bytes,
         fmt::format("{:.3f} bits per weight{}", bits,
                     device.synthetic() ? ", made from a seed at load" : ""));
  uint64_t shared = 0;
  for (const runtime::Section& section : device.weights_sections)
    for (size_t other = 0; other < plan.device_plans.size(); ++other)
      if (const auto& its = plan.device_plans[other].weights_sections;
          other != index && std::ranges::find(its, section) != its.end()) {
        shared += section.bytes;
        break;
      }
  if (shared != 0) memory("  of them in common", shared, "stored once for several device plans");
  uint64_t position = 0;
  for (const runtime::PlanState& state : device.states) position += state.bytes_per_position;
  if (position != 0)
    memory("state per position", position,
           fmt::format("{} bytes in {}", count_text(position), state_formats(device)));
  if (const uint64_t fixed = runtime::StateLayout(device.states).fixed_bytes; fixed != 0)
    memory("state per sequence", fixed, "whatever its length");
  memory("state per 1,024 positions", device.state_bytes(1024), "");
  memory(fmt::format("state at {} positions", count_text(context)),
         device.state_bytes(plan.max_context), "");
  memory("activations", device.arena_bytes, "");
  if (device.scratch_bytes > 0) memory("scratch per thread", device.scratch_bytes, "");

  text += "\n" + weights_by_format(device) + "\n";
  const std::vector<runtime::Phase>& decode = decode_phases(device);
  const PhasesPerLayer per_layer = phases_per_layer(device);
  const std::string layer_text = per_layer.fewest == per_layer.most
                                     ? fmt::format("{}", per_layer.most)
                                     : fmt::format("{} to {}", per_layer.fewest, per_layer.most);
  line("kernels", fmt::format("{}", device.kernels.size()));
  line("phases", fmt::format("{} per token, {} per layer, {} barriers; {} in a prefill step of at "
                             "most {} tokens",
                             decode.size(), layer_text, decode.empty() ? 0 : decode.size() - 1,
                             device.phases_for(runtime::Schedule::Entry::main, device.chunk).size(),
                             device.chunk));
  if (const auto& draft = device.phases_for(runtime::Schedule::Entry::mtp, 1); !draft.empty()) {
    uint64_t bytes = 0;
    for (const runtime::Phase& phase : draft) bytes += phase.weight_bytes;
    line("entry mtp", fmt::format("drafts a token: {} phases, reads {} of weights", draft.size(),
                                  size_text(bytes)));
  }
  if (!device.probes.empty())
    line("probes", fmt::format("{}, each a dot product that is checked before the first token",
                               device.probes.size()));
  const runtime::CodeObject* target = plan.predicted_for(index);
  text += prediction(device, target == nullptr ? "" : target->target, rates);
  for (const runtime::CodeObject& code : plan.code)
    if (code.device_plan == index && !code.resources.empty()) text += resources_text(device, code);
  return text;
}

// A line for every token that ends a text: `1021 <|endoftext|>, eos_token_id of config.json`.
std::vector<std::string> end_texts(const Plan& plan) {
  std::vector<std::string> lines;
  for (const int32_t id : plan.eos_ids) {
    std::string text = fmt::format("{}", id);
    for (const runtime::PlanEnd& end : plan.ends)
      if (end.id == id)
        text += fmt::format("{}{}, {}", end.text.empty() ? "" : " ", end.text, end.source);
    lines.push_back(std::move(text));
  }
  if (lines.empty()) lines.emplace_back("no token");
  return lines;
}

}  // namespace

std::string summary(const Plan& plan, const TargetRates& rates) {
  const auto parameters = static_cast<uint64_t>(std::max<int64_t>(plan.parameters, 0));
  std::string text;
  const auto line = [&](std::string_view name, const std::string& value) {
    text += fmt::format("{:<16}{}\n", name, printable(value));
  };
  line("model", fmt::format("{} ({}), {} layers, {} parameters", plan.model, plan.architecture,
                            plan.layers, count_text(parameters)));
  line("compiled by", plan.compiler);
  line("activations", plan.activations);
  line("context",
       count_text(static_cast<uint64_t>(std::max<int64_t>(plan.max_context, 0))) + " positions");
  line("vocabulary",
       fmt::format("{} tokens{}",
                   count_text(static_cast<uint64_t>(std::max<int64_t>(plan.vocab_size, 0))),
                   plan.tokenizer.bytes == 0 ? "; no tokenizer" : ""));
  const std::vector<std::string> ends = end_texts(plan);
  for (size_t i = 0; i < ends.size(); ++i) line(i == 0 ? "text ends at" : "", ends[i]);
  size_t accepted = 0;
  for (const runtime::PlanRemark& remark : plan.remarks) accepted += remark.accepted ? 1 : 0;
  line("remarks", fmt::format("{} accepted, {} refused; `explain` has the reasons", accepted,
                              plan.remarks.size() - accepted));
  for (size_t i = 0; i < plan.device_plans.size(); ++i) {
    const runtime::CodeObject* target = plan.predicted_for(i);
    text += "\n" + device_summary(
                       plan, i, rates && target != nullptr ? rates(target->target) : std::nullopt);
  }
  return text;
}

Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median =
      values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

}  // namespace sinter::tools
