#include "codegen/regions/lower.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "codegen/regions/region.h"
#include "codegen/schedule/early_starts.h"
#include "codegen/schedule/join_phases.h"
#include "ir/entries.h"
#include "ir/ops.h"
#include "ir/regions.h"

namespace sinter::codegen {

namespace {

// Whether phases of a kind read rows where the step's table says that they are.
bool reads_tables_of_rows(ir::RegionKind kind) {
  return kind == ir::RegionKind::matmul || kind == ir::RegionKind::rows;
}

absl::Status lower_schedule(RegionContext& c, bool joins_phases) {
  const auto entries = ir::entries_of(c.module);
  const auto nodes = ir::nodes_by_entry(c.module);
  const auto own = std::ranges::find(entries, c.entry.name, &ir::Entry::name) - entries.begin();
  for (const size_t i : nodes[static_cast<size_t>(own)]) {
    const ir::Node& node = c.module.nodes[i];
    const ir::Region* region = ir::region_of(node);
    if (region == nullptr)
      return absl::InternalError(fmt::format("[{}] outside a phase", ir::info(node.op).name));
    if (!reads_tables_of_rows(region->kind) &&
        std::ranges::any_of(ir::inputs_of(node), [&](ir::ValueId id) { return c.is_hidden(id); }))
      return absl::UnimplementedError(fmt::format(
          "phase \"{}\": phases of kind {} cannot read hidden states", node.label, region->name));
    if (auto status = lowering_of(region->kind)(c, node); !status.ok()) return status;
  }
  const std::string pass(kJoinPhases);
  if (!joins_phases) {
    c.remarks.push_back({pass, false, c.module.name, "left out"});
    return settle_early_starts(c.lowered);
  }
  for (JoinedPhase& joined : join_phases(c.lowered, c.on_gpu()))
    c.remarks.push_back({pass, true, std::move(joined.name),
                         fmt::format("in one phase with {}: neither needs the other", joined.with),
                         0, 1});
  return settle_early_starts(c.lowered);
}

}  // namespace

absl::StatusOr<Lowering> lower(const ir::Module& module, Device device, Activations activations,
                               const std::vector<ScheduleShape>& shapes,
                               std::vector<passes::Remark>& remarks, bool joins_phases) {
  Lowering out;
  int64_t most_rows = 1;
  for (const ScheduleShape& shape : shapes) most_rows = std::max(most_rows, shape.most_rows);
  out.states = states_of(module, most_rows);
  std::vector<passes::Remark> again;  // every schedule of an entry says the same
  std::set<runtime::Schedule::Entry> said;
  for (const ScheduleShape& shape : shapes) {
    RegionContext c(module, device, activations, shape, out,
                    said.insert(shape.entry).second ? remarks : again);
    if (auto status = lower_schedule(c, joins_phases); !status.ok()) return status;
  }
  return out;
}

absl::StatusOr<Lowering> lower(const ir::Module& module, Device device, Activations activations,
                               const std::vector<ScheduleShape>& shapes,
                               std::vector<passes::Remark>& remarks) {
  return lower(module, device, activations, shapes, remarks, true);
}

}  // namespace sinter::codegen
