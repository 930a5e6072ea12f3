#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "codegen/device/sizes.h"
#include "codegen/regions/lane_code.h"
#include "codegen/regions/row_code.h"
#include "ir/ops.h"
#include "ir/state_format.h"
#include "ir/views.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

class ScanLowerer {
 public:
  ScanLowerer(RegionContext& c, const Node& node, const Node& scan)
      : c_(c),
        node_(node),
        scan_(scan),
        heads_(extent(0, 1)),
        head_dim_(extent(0, 2)),
        groups_(extent(2, 1)),
        columns_(extent(2, 2)),
        run_(ir::padded_run(columns_)),
        rates_(c.module.weight(scan.operands[1]).elements()) {}

  absl::Status run() {
    if (columns_ > sizes::most_scan_columns)
      return absl::UnimplementedError(
          fmt::format("phase \"{}\": a scan whose states have {} columns has no kernel; they may "
                      "have {}",
                      node_.label, columns_, sizes::most_scan_columns));
    if (auto status = c_.declare_vectors(node_); !status.ok()) return status;
    Emitter e;
    declare_shape(e);
    if (auto status = declare_inputs(e); !status.ok()) return status;
    const ValueId result = node_.results[0];
    const auto store = [&](const std::string& value) {
      e.line("float* const out = {};", e.pointer(c_.buffer(result), "float"));
      return fmt::format("store(out + {} * {} + col, {}, n);", c_.row_of_result(result), channels(),
                         value);
    };
    if (auto status = declare_lanes(c_, e, node_, result, "after", scan_.results[0], store);
        !status.ok())
      return status;
    const bool few = c_.few_rows();
    const int64_t rows = few ? sizes::scan_few_rows : sizes::scan_many_rows;
    const std::string on_gpu = c_.on_gpu() ? fmt::format(", {}, {}", rows, few) : "";
    e.line("selective_scan<S{}>(launch, state, x, step, b, c, a, d, after);", on_gpu);
    if (c_.on_gpu() && few) e.read_ahead(state());
    LoweredPhase& phase = c_.finish(
        node_.label, e, ops_of(node_),
        fmt::format("{} heads of {}x{}, {} groups", heads_, head_dim_, columns_, groups_));
    phase.macs = static_cast<double>(2 * channels() * run_);
    const int64_t height = sizes::scan_height(run_);
    phase.blocks = groups_ * ((channels() / groups_ + height - 1) / height);
    // Few rows may be of as many sequences; a prompt is of one, or of few.
    if (few && !c_.one_row()) phase.rows_per_block = 1;
    phase.shared_bytes = sizes::scan_tile_bytes(run_, rows);
    if (c_.on_gpu() && few) phase.kernel = LoweredPhase::Kernel::early;
    return absl::OkStatus();
  }

 private:
  int64_t extent(size_t operand, size_t i) const {
    return c_.module.tensor(scan_.operands[operand]).shape[i].value;
  }
  int64_t channels() const { return heads_ * head_dim_; }
  bool has_step() const { return scan_.operands.size() > 5; }
  bool has_skip() const { return scan_.operands.size() > 6; }
  Buffer state() const { return {Buffer::Kind::state, scan_.operands[4], 0}; }

  void declare_shape(Emitter& e) const {
    e.line("using S = ScanShape<{}, {}, {}, {}, {}, {}, {}>;", heads_, head_dim_, groups_, columns_,
           rates_ != heads_, has_skip(), c_.out.states.layout.fixed_bytes);
    e.line("static_assert(S::channels * S::State::run_bytes == {});",
           c_.out.states.at(scan_.operands[4]).fixed_bytes);
    e.line("const S::State state{{{}}};", e.pointer(state(), "float", Access::update));
  }

  absl::Status declare_inputs(Emitter& e) {
    if (auto status = declare_lanes(c_, e, node_, scan_.operands[0], "x"); !status.ok())
      return status;
    if (!has_step()) {
      e.line("const auto step = [](index, index, index) {{ return Lanes(1.0F); }};");
    } else if (auto status = declare_lanes(c_, e, node_, scan_.operands[5], "step"); !status.ok()) {
      return status;
    }
    for (const auto& [name, operand] : {std::pair{"b", size_t{2}}, std::pair{"c", size_t{3}}})
      if (auto status = declare_groups(e, name, scan_.operands[operand]); !status.ok())
        return status;
    auto rates = c_.vector_pointer(e, scan_.operands[1]);
    if (!rates.ok()) return rates.status();
    e.line("const auto* const a = {};", *rates);
    if (!has_skip()) {
      e.line("const float* const d = nullptr;");
      return absl::OkStatus();
    }
    auto skips = c_.vector_pointer(e, scan_.operands[6]);
    if (!skips.ok()) return skips.status();
    e.line("const auto* const d = {};", *skips);
    return absl::OkStatus();
  }

  // Declares the groups of a value as rows.
  absl::Status declare_groups(Emitter& e, const char* name, ValueId value) {
    e.line("const auto {} = [&]() __attribute__((always_inline)) {{", name);
    e.open();
    auto code = declare_heads(c_, e, node_, value, {groups_, columns_});
    e.line("return x;");
    e.close();
    e.line("}}();");
    return code.status();
  }

  RegionContext& c_;
  const Node& node_;
  const Node& scan_;
  const int64_t heads_, head_dim_, groups_, columns_;
  const int64_t run_;    // numbers of a row of the state
  const int64_t rates_;  // of decay
};

}  // namespace

// A selective scan, from what its operands are made of to what single channels of its result
// become. Workers have channels of their own, so that each has all of their states' rows.
absl::Status lower_scan(RegionContext& c, const Node& node) {
  const auto scan =
      std::ranges::find_if(node.body, [](const Node& n) { return n.op == Op::selective_scan; });
  if (scan == node.body.end() || node.results.size() != 1)
    return absl::InternalError(
        fmt::format("phase \"{}\" is no selective scan with one result", node.label));
  return ScanLowerer(c, node, *scan).run();
}

}  // namespace sinter::codegen
