#include "codegen/schedule/join_phases.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/abi/kernel_abi.h"

namespace sinter::codegen {

namespace {

using Kernel = LoweredPhase::Kernel;

// Phases that are to be one.
struct Group {
  std::vector<LoweredPhase> parts;
  size_t arguments = 0;
};

// Whether one of them writes what the other touches.
bool depend(const LoweredPhase& a, const LoweredPhase& b) {
  for (size_t i = 0; i < a.arguments.size(); ++i)
    for (size_t j = 0; j < b.arguments.size(); ++j)
      if (a.arguments[i].kind == b.arguments[j].kind &&
          a.arguments[i].value == b.arguments[j].value &&
          (a.uses[i].access != Access::read || b.uses[j].access != Access::read))
        return true;
  return false;
}

bool depend(const Group& group, const LoweredPhase& phase) {
  return std::any_of(group.parts.begin(), group.parts.end(),
                     [&](const LoweredPhase& part) { return depend(part, phase); });
}

class Joiner {
 public:
  Joiner(LoweredSchedule& schedule, bool on_gpu) : schedule_(schedule), on_gpu_(on_gpu) {}

  std::vector<JoinedPhase> run() {
    for (LoweredPhase& phase : schedule_.phases) add(std::move(phase));
    schedule_.phases.clear();
    for (Group& group : groups_)
      schedule_.phases.push_back(group.parts.size() == 1 ? std::move(group.parts[0])
                                                         : joined(group));
    return std::move(joined_);
  }

 private:
  void add(LoweredPhase phase) {
    size_t first = groups_.size();
    while (first > 0 && !depend(groups_[first - 1], phase)) --first;
    for (; first < groups_.size(); ++first) {
      Group& group = groups_[first];
      if (!may_join(group, phase)) continue;
      joined_.push_back({phase.name, group.parts[0].name});
      group.arguments += phase.arguments.size();
      group.parts.push_back(std::move(phase));
      return;
    }
    const size_t arguments = phase.arguments.size();
    groups_.push_back({{std::move(phase)}, arguments});
  }

  bool may_join(const Group& group, const LoweredPhase& phase) const {
    if (group.arguments + phase.arguments.size() > static_cast<size_t>(max_arguments)) return false;
    if (!on_gpu_) return true;
    const LoweredPhase& first = group.parts[0];
    for (const LoweredPhase* part : {&first, &phase})
      if (part->kernel != Kernel::plain && part->kernel != Kernel::early &&
          part->kernel != Kernel::paired)
        return false;
    const int64_t rows = schedule_.shape.most_rows;
    return rows == 1 || (first.rows_per_block == phase.rows_per_block &&
                         (rows <= kFewRows || first.shared_bytes == phase.shared_bytes));
  }

  LoweredPhase joined(const Group& group) const {
    LoweredPhase all;
    all.kernel = Kernel::plain;
    all.blocks = on_gpu_ ? 0 : 1;
    for (const LoweredPhase& part : group.parts) {
      const auto append = [&](std::string& text, std::string_view with, std::string_view more) {
        text += fmt::format("{}{}", text.empty() ? "" : with, more);
      };
      append(all.name, "+", part.name);
      append(all.what, " + ", part.what);
      append(all.summary, " and ", part.summary);
      all.weight_bytes += part.weight_bytes;
      all.macs += part.macs;
      all.scratch_bytes = std::max(all.scratch_bytes, part.scratch_bytes);
      all.shared_bytes = std::max(all.shared_bytes, part.shared_bytes);
      all.rows_per_block = std::max(all.rows_per_block, part.rows_per_block);
      if (on_gpu_) all.blocks += part.blocks;
      if (part.begins_early() && all.kernel != Kernel::paired) all.kernel = part.kernel;
    }
    // Where rows are few, parts that all read weights have blocks by the bytes of these.
    const bool by_bytes =
        schedule_.shape.most_rows <= kFewRows &&
        std::ranges::all_of(group.parts, [](const LoweredPhase& p) { return p.weight_bytes > 0; });
    const auto share = [&](const LoweredPhase& part) {
      return by_bytes ? (part.weight_bytes + 63) / 64 : part.blocks;
    };
    int64_t all_shares = 0;
    for (const LoweredPhase& part : group.parts) all_shares += share(part);
    int64_t before = 0;
    for (const LoweredPhase& part : group.parts) {
      const size_t first = all.arguments.size();
      all.body += on_gpu_
                      ? fmt::format(
                            "  if (const Launch part = part_of(launch, {}, {}, {}, {}); "
                            "takes_part(part)) {{\n",
                            before, share(part), all_shares, first)
                      : fmt::format("  {{\n    const Launch part = part_of(launch, {});\n", first);
      all.body += "    [](const Launch* launch) __attribute__((always_inline)) {\n";
      if (on_gpu_ && all.begins_early() && !part.begins_early())
        all.body += "      await_phases();\n";
      append_indented(all.body, part.body);
      all.body += "    }(&part);\n";
      before += share(part);
      if (on_gpu_ && &part != &group.parts.back())
        all.body += "    barrier();  // a block of several parts uses its shared memory again\n";
      all.body += "  }\n";
      all.arguments.insert(all.arguments.end(), part.arguments.begin(), part.arguments.end());
      all.uses.insert(all.uses.end(), part.uses.begin(), part.uses.end());
    }
    return all;
  }

  static void append_indented(std::string& text, std::string_view lines) {
    while (!lines.empty()) {
      const size_t end = std::min(lines.find('\n'), lines.size() - 1) + 1;
      text += fmt::format("    {}", lines.substr(0, end));
      lines.remove_prefix(end);
    }
  }

  LoweredSchedule& schedule_;
  const bool on_gpu_;
  std::vector<JoinedPhase> joined_;
  std::vector<Group> groups_;
};

}  // namespace

std::vector<JoinedPhase> join_phases(LoweredSchedule& schedule, bool on_gpu) {
  return Joiner(schedule, on_gpu).run();
}

}  // namespace sinter::codegen
