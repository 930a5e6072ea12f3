#include "codegen/regions/context.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "codegen/layouts/layout_table.h"
#include "codegen/regions/products.h"
#include "codegen/regions/weight_structs.h"
#include "ir/entries.h"
#include "ir/ops.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

// Schedules of others, of probes, run on the model's own.
ir::Entry entry_of(const ir::Module& module, runtime::Schedule::Entry entry) {
  if (entry == runtime::Schedule::Entry::mtp && !module.further.empty()) return module.further[0];
  return {std::string(ir::kForward), module.params, module.returns};
}

}  // namespace

RegionContext::RegionContext(const ir::Module& of, Device on, Activations with,
                             const ScheduleShape& shape, Lowering& to,
                             std::vector<passes::Remark>& said)
    : module(of),
      entry(entry_of(of, shape.entry)),
      device(on),
      activations(with),
      out(to),
      remarks(said),
      lowered(to.schedules.emplace_back(LoweredSchedule{shape, {}, {}})) {}

std::string RegionContext::row_count(ValueId id) const {
  return module.tensor(id).shape[0].symbol == 'L' ? "launch->step->logits_rows"
                                                  : "launch->step->rows";
}

Buffer RegionContext::buffer(ValueId id) const {
  if (id == entry.returns[0]) return {Buffer::Kind::logits, 0, 0};
  if (is_hidden(id) || is_left(id)) return {Buffer::Kind::hidden, 0, 0};
  return {Buffer::Kind::activation, id, 0};
}

Buffer RegionContext::temporary(Room room) {
  const auto id = static_cast<int64_t>(lowered.temporaries.size());
  lowered.temporaries[id] = room;
  return {Buffer::Kind::temporary, id, 0};
}

Buffer RegionContext::pinned(const std::string& key, int64_t bytes) {
  const auto next = static_cast<int64_t>(out.pinned.size());
  const int64_t id = out.pinned_numbers.emplace(key, next).first->second;
  Room& room = out.pinned[id];
  room.fixed_bytes = std::max(room.fixed_bytes, bytes);
  return {Buffer::Kind::pinned, id, 0};
}

std::string RegionContext::row_of_result(ValueId id) const {
  if (is_left(id)) return "index{hidden_rows(launch)[row]}";
  if (id != entry.returns[0] || module.tensor(id).shape[0].symbol != 'L') return "row";
  return one_row() ? "step_rows(launch)->logits" : "logits_place(launch, row)";
}

absl::StatusOr<PackedLayout> RegionContext::layout(ValueId weight, int64_t parts) {
  const auto sources = static_cast<int64_t>(module.weights.at(weight).sources.size());
  const PackedLayout wanted = packed_layout(module.weight(weight), parts,
                                            layout_for(device, module.weight(weight)), sources);
  const auto [at, inserted] = out.layouts.emplace(weight, wanted);
  if (!inserted && at->second.parts != parts)
    return absl::InternalError(fmt::format("\"{}\" is read in {} and in {} parts",
                                           module.value(weight).name, at->second.parts, parts));
  return at->second;
}

absl::Status RegionContext::declare_weights(Emitter& e, ValueId weight, int64_t parts) {
  const ir::WeightType& type = module.weight(weight);
  if (const int64_t most = most_row_cols(*this, type.format); type.cols() > most)
    return absl::UnimplementedError(
        fmt::format("weight \"{}\" is {}: kernels sum the products of at most {} columns that "
                    "share a scale",
                    module.value(weight).name, ir::to_string(type), most));
  const auto chosen = layout(weight, parts);
  if (!chosen.ok()) return chosen.status();
  const auto sources = static_cast<int64_t>(module.weights.at(weight).sources.size());
  return codegen::declare_weights(e, {weight, module.value(weight).name, type, *chosen, sources});
}

absl::StatusOr<std::string> RegionContext::vector_pointer(Emitter& e, ValueId weight) {
  if (auto chosen = layout(weight, 1); !chosen.ok()) return chosen.status();
  return e.pointer({Buffer::Kind::weight, weight, 0},
                   fmt::format("const {}", c_type(module.weight(weight).format.scale_type)));
}

absl::Status RegionContext::declare_vectors(const Node& node) {
  for (const Node& inner : node.body)
    for (size_t i = 0; i < inner.operands.size(); ++i)
      if (module.is_weight(inner.operands[i]) && !ir::is_matrix_operand(inner.op, i))
        if (auto chosen = layout(inner.operands[i], 1); !chosen.ok()) return chosen.status();
  return absl::OkStatus();
}

LoweredPhase& RegionContext::finish(std::string name, const Emitter& emitter, std::string what,
                                    std::string summary) {
  LoweredPhase phase;
  phase.name = std::move(name);
  phase.what = std::move(what);
  phase.summary = std::move(summary);
  phase.body = emitter.text();
  phase.arguments = emitter.arguments();
  phase.uses = emitter.uses();
  lowered.phases.push_back(std::move(phase));
  return lowered.phases.back();
}

std::string ops_of(const Node& node) {
  std::vector<std::string_view> names;
  for (const Node& inner : node.body)
    if (inner.op != Op::reshape && inner.op != Op::slice &&
        std::find(names.begin(), names.end(), ir::info(inner.op).name) == names.end())
      names.push_back(ir::info(inner.op).name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace sinter::codegen
