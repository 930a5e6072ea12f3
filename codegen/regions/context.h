// What the lowering of one region works with: the graph, the device and the schedule that it is
// for, and the parts that kinds of regions have in common.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "codegen/schedule/emitter.h"
#include "codegen/schedule/phase.h"
#include "codegen/targets/target.h"
#include "ir/graph.h"
#include "passes/pass.h"

namespace sinter::codegen {

class RegionContext {
 public:
  // Adds a schedule of that shape to `out`.
  RegionContext(const ir::Module& module, Device device, Activations activations,
                const ScheduleShape& shape, Lowering& out, std::vector<passes::Remark>& remarks);

  const ir::Module& module;
  const ir::Entry entry;  // that the schedule is of
  const Device device;
  const Activations activations;
  Lowering& out;
  std::vector<passes::Remark>& remarks;
  LoweredSchedule& lowered;  // the schedule in `out` that phases are added to
  // Rows that were computed in the form in which all their readers multiply them.
  std::map<ir::ValueId, Buffer> prepared;

  bool on_gpu() const { return kind_of(device).gpu; }
  // Whether steps have one row.
  bool one_row() const { return lowered.shape.most_rows == 1; }
  // Whether they have so few that each is computed as it is alone.
  bool few_rows() const { return lowered.shape.most_rows <= kFewRows; }
  // int8 planes of an activation.
  int planes() const { return activations == Activations::a8 ? 1 : 2; }
  int64_t width(ir::ValueId id) const { return module.tensor(id).shape.back().value; }
  // The C++ expression for the rows of a value.
  std::string row_count(ir::ValueId id) const;

  // Whether a value is what the entry leaves for, or has from, another, whose rows the step's table
  // names.
  bool is_left(ir::ValueId id) const {
    return !module.further.empty() && entry.returns.size() > 1 && id == entry.returns[1];
  }
  bool is_hidden(ir::ValueId id) const { return entry.params.size() > 1 && id == entry.params[1]; }
  // The C++ expression for the row of a tensor that stands for row `row` of a phase.
  std::string row_of(ir::ValueId id) const {
    return is_hidden(id) ? "index{hidden_rows(launch)[row]}" : "row";
  }
  // Where a value of the graph lies.
  Buffer buffer(ir::ValueId id) const;
  Buffer temporary(Room room);
  // Zeroed once and left so by every phase; phases with the same key share it, whatever schedule
  // they are of.
  Buffer pinned(const std::string& key, int64_t bytes);
  // The C++ expression for the row of the result's buffer that row `row` of a phase is written to.
  std::string row_of_result(ir::ValueId id) const;

  // The layout of a weight; all its readers must agree on the parts.
  absl::StatusOr<PackedLayout> layout(ir::ValueId weight, int64_t parts);
  // Declares `Weights` and the variable `w`.
  absl::Status declare_weights(Emitter& e, ir::ValueId weight, int64_t parts);
  // A vector among the weights, in its own element type.
  absl::StatusOr<std::string> vector_pointer(Emitter& e, ir::ValueId weight);
  // Layouts of the weight vectors that the epilogue of `node` reads.
  absl::Status declare_vectors(const ir::Node& node);

  // Appends the phase that `emitter` holds.
  LoweredPhase& finish(std::string name, const Emitter& emitter, std::string what,
                       std::string summary);
};

// The names of the ops in a region, but for those that only say where numbers lie.
std::string ops_of(const ir::Node& node);

}  // namespace sinter::codegen
