#include "codegen/probe/lower.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "codegen/probe/input.h"
#include "codegen/regions/context.h"
#include "codegen/regions/products.h"
#include "codegen/regions/weight_structs.h"
#include "codegen/schedule/early_starts.h"

namespace sinter::codegen {

using ir::ValueId;

namespace {

// The rows are those of the first part, which begins the weight.
absl::Status lower_probe(RegionContext& c, ValueId weight, ValueId input) {
  const ir::WeightType& type = c.module.weight(weight);
  const PackedLayout& packed = c.out.layouts.at(weight);
  const int64_t rows = std::min(packed.part_rows, kProbeRows);
  int64_t& result_bytes = c.lowered.temporaries.at(c.out.probe_results.value).fixed_bytes;
  const LoweredProbe probe{weight, result_bytes / 4, rows};
  result_bytes += rows * 4;
  const std::string rows_form = rows_type(type, c.planes());
  Emitter e;
  if (auto status = c.declare_weights(e, weight, packed.parts); !status.ok()) return status;
  if (auto chosen = c.layout(input, 1); !chosen.ok()) return chosen.status();
  e.line("const PlainRows<{}> x{{{}, {{}}}};", type.cols(),
         e.pointer({Buffer::Kind::weight, input, 0}, "const float"));
  e.line("float* out = {} + {};", e.pointer(c.out.probe_results, "float"), probe.first);
  e.line(
      "const auto epilogue = [=](index, index col, index n, Lanes y0) "
      "__attribute__((always_inline)) {{ store(out + col, y0, n); }};");
  const GpuShape shape = gpu_shape(c, type, rows);
  if (c.on_gpu())
    e.line("static_assert(one_row_shared_bytes<{}> <= {});", rows_form, shape.shared_bytes);
  e.line("matmul_one_row<{}, 1, {}>(launch, w, x, {}epilogue);", rows_form, rows,
         handed_sums(c, e, type, 1, rows));
  LoweredPhase& phase =
      c.finish("probe." + c.module.value(weight).name, e, "matmul",
               fmt::format("{} x {} {}", rows, type.cols(), ir::to_string(type.format)));
  phase.weight_bytes = type.packed_bytes() / type.rows() * rows;
  phase.macs = static_cast<double>(rows * type.cols());
  if (c.on_gpu()) {
    phase.kernel = LoweredPhase::Kernel::early;
    phase.blocks = shape.blocks;
    phase.shared_bytes = shape.shared_bytes;
  } else {
    phase.scratch_bytes = prepared_row_bytes(c, type);
    c.out.scratch_bytes = std::max(c.out.scratch_bytes, phase.scratch_bytes);
  }
  c.out.probes.push_back(probe);
  return absl::OkStatus();
}

}  // namespace

absl::Status lower_probes(const ir::Module& module, Device device, Activations activations,
                          ValueId input, Lowering& lowering) {
  std::map<std::string, ValueId> smallest;  // by format
  for (const auto& [id, layout] : lowering.layouts) {
    const ir::WeightType& type = module.weight(id);
    if (type.shape.size() < 2) continue;
    ValueId& known = smallest.emplace(ir::to_string(type.format), id).first->second;
    if (type.elements() < module.weight(known).elements()) known = id;
  }
  std::vector<passes::Remark> none;
  RegionContext c(module, device, activations, {"probe", runtime::Schedule::Entry::probe, 1},
                  lowering, none);
  lowering.probe_results = c.temporary({});
  for (const auto& [format, weight] : smallest)
    if (auto status = lower_probe(c, weight, input); !status.ok()) return status;
  return settle_early_starts(c.lowered);
}

}  // namespace sinter::codegen
