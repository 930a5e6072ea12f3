#include "codegen/schedule/side_by_side.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/abi/kernel_abi.h"

namespace sinter::codegen {

namespace {

// As many as every GPU of note has at one time: none waits for a place.
constexpr int64_t kMostBlocks = 64;

bool meets(const LoweredPhase& a, const LoweredPhase& b) {
  for (size_t i = 0; i < a.arguments.size(); ++i)
    for (size_t j = 0; j < b.arguments.size(); ++j) {
      const Buffer& x = a.arguments[i];
      const Buffer& y = b.arguments[j];
      if (x.kind == y.kind && x.value == y.value &&
          (a.uses[i].access != Access::read || b.uses[j].access != Access::read))
        return true;
    }
  return false;
}

bool may_join(const LoweredPhase& phase) {
  using Kernel = LoweredPhase::Kernel;
  return phase.kernel == Kernel::plain || phase.kernel == Kernel::early;
}

bool fit(const LoweredPhase& a, const LoweredPhase& b) {
  return may_join(a) && may_join(b) && a.blocks + b.blocks <= kMostBlocks &&
         a.arguments.size() + b.arguments.size() <= max_arguments;
}

// The body of `phase` as that of blocks first .. first + phase.blocks - 1 of `all`, with arguments
// from `argument` on. It may return early, and a block may have both parts.
std::string part(const LoweredPhase& phase, int64_t first, int64_t all, size_t argument) {
  std::string out = fmt::format(
      "  if (Launch mine = part_of(launch, {}, {}, {}); takes_part(mine)) {{\n"
      "    mine.args += {};\n"
      "    const auto run = [](const Launch* launch) __attribute__((always_inline)) {{\n",
      first, phase.blocks, all, argument);
  if (!phase.begins_early()) out += "  await_phases();\n";
  return out + phase.body + "    };\n    run(&mine);\n    barrier();\n  }\n";
}

LoweredPhase join(const LoweredPhase& a, const LoweredPhase& b) {
  LoweredPhase out = a;
  out.name = a.name + " beside " + b.name;
  out.what = a.what + "; " + b.what;
  out.summary = a.summary + "; " + b.summary;
  out.body = part(a, 0, a.blocks + b.blocks, 0) +
             part(b, a.blocks, a.blocks + b.blocks, a.arguments.size());
  out.arguments.insert(out.arguments.end(), b.arguments.begin(), b.arguments.end());
  out.uses.insert(out.uses.end(), b.uses.begin(), b.uses.end());
  out.weight_bytes += b.weight_bytes;
  out.blocks += b.blocks;
  out.shared_bytes = std::max(a.shared_bytes, b.shared_bytes);
  out.kernel = LoweredPhase::Kernel::early;
  out.macs += b.macs;
  return out;
}

}  // namespace

void join_side_by_side(LoweredSchedule& schedule) {
  std::vector<LoweredPhase>& phases = schedule.phases;
  for (size_t i = 0; i < phases.size(); ++i) {
    if (!may_join(phases[i])) continue;
    // Back to the first of those that it needs nothing of.
    for (size_t j = i; j-- > 0 && !meets(phases[j], phases[i]);) {
      if (!fit(phases[j], phases[i])) continue;
      phases[j] = join(phases[j], phases[i]);
      phases.erase(phases.begin() + static_cast<std::ptrdiff_t>(i));
      --i;
      break;
    }
  }
}

}  // namespace sinter::codegen
