#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "codegen/regions/lane_code.h"
#include "ir/ops.h"
#include "ir/state_format.h"
#include "runtime/abi/kernel_abi.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

// Rows of a step that a block of a GPU goes over, with up to taps - 1 inputs before them.
constexpr int64_t kFewTogether = 4;
constexpr int64_t kManyTogether = 32;

}  // namespace

// A short convolution, from what its input is made of to what is made of its result. Workers have
// channels of their own, so that each reads the state of a channel before it writes it.
absl::Status lower_convolution(RegionContext& c, const Node& node) {
  const auto op = std::find_if(node.body.begin(), node.body.end(),
                               [](const Node& n) { return n.op == Op::short_conv; });
  if (op == node.body.end() || node.results.size() != 1)
    return absl::InternalError(
        fmt::format("phase \"{}\" is no convolution with one result", node.label));
  const ir::WeightType& type = c.module.weight(op->operands[1]);
  const ValueId state = op->operands[2];
  const int64_t channels = type.shape[0];
  const int64_t taps = type.shape[1];
  if (auto status = c.declare_vectors(node); !status.ok()) return status;
  Emitter e;
  if (auto status = c.declare_weights(e, op->operands[1], 1); !status.ok()) return status;
  if (auto status = declare_lanes(c, e, node, op->operands[0], "x"); !status.ok()) return status;
  const ValueId result = node.results[0];
  if (auto status = declare_lanes(c, e, node, result, "epilogue", op->results[0],
                                  [&](const std::string& value) {
                                    e.line("float* out = {};",
                                           e.pointer(c.buffer(result), "float"));
                                    return fmt::format("store(out + {} * {} + col, {}, n);",
                                                       c.row_of_result(result), channels, value);
                                  });
      !status.ok())
    return status;
  const int64_t run = ir::padded_run(channels);
  e.line("using Inputs = FixedState<{}, {}>;", run, c.out.states.layout.fixed_bytes);
  e.line("static_assert({} * Inputs::run_bytes == {});", taps - 1,
         c.out.states.at(state).fixed_bytes);
  e.line("const Inputs before{{{}}};",
         e.pointer({Buffer::Kind::state, state, 0}, "float", Access::update));
  const int64_t together = c.few_rows() ? kFewTogether : kManyTogether;
  if (c.on_gpu()) {
    e.line("convolve<{}, {}>(launch, w, before, x, epilogue);", channels, together);
  } else {
    e.line("convolve<{}>(launch, w, before, x, epilogue);", channels);
  }
  LoweredPhase& phase =
      c.finish(node.label, e, ops_of(node), fmt::format("{} channels, {} taps", channels, taps));
  phase.weight_bytes = type.packed_bytes();
  phase.macs = static_cast<double>(type.elements());
  phase.blocks = (channels + gpu_block_threads - 1) / gpu_block_threads;
  phase.rows_per_block = together;
  return absl::OkStatus();
}

}  // namespace sinter::codegen
