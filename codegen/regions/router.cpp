#include "codegen/regions/region.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "codegen/regions/products.h"
#include "codegen/regions/row_code.h"
#include "codegen/regions/top_k.h"
#include "ir/ops.h"

namespace sinter::codegen {

using ir::Node;
using ir::Op;
using ir::ValueId;

namespace {

// What follows the product, on whole rows: scores, the choice among them, the values of the chosen.
class Choice {
 public:
  Choice(RegionContext& c, const Node& node, const Node& tail) : c_(c), node_(node), tail_(tail) {
    choice_ = &*std::find_if(tail.body.begin(), tail.body.end(),
                             [](const Node& n) { return n.op == Op::top_k; });
  }

  int64_t shared_bytes() const { return choice_bytes(*choice_); }
  // `launch`: the C++ expression for those who do it. All work of a row is done by one worker.
  absl::Status emit(Emitter& e, const std::string& launch) {
    std::vector<ValueId> scores = {choice_->operands[0]};
    for (const Node& inner : tail_.body)
      if (ir::is_of_columns(inner.op) && inner.operands[0] != scores[0] &&
          !c_.module.is_weight(inner.operands[0]))
        scores.push_back(inner.operands[0]);
    for (const ValueId value : scores)
      if (auto status = write(e, launch, value); !status.ok()) return status;
    emit_top_k(c_, e, *choice_, launch);
    for (const ValueId value : node_.results)
      if (value != choice_->results[0])
        if (auto status = write(e, launch, value); !status.ok()) return status;
    return absl::OkStatus();
  }

 private:
  absl::Status write(Emitter& e, const std::string& launch, ValueId value) {
    if (ir::find_definition(tail_.body, value) == nullptr) return absl::OkStatus();
    e.line("{{");
    e.open();
    if (auto code = declare_rows(c_, e, tail_, value, {}, ""); !code.ok()) return code.status();
    e.line("write_rows<FloatRows<{}>>({}, {}, {}, x);", c_.width(value), launch,
           e.pointer(c_.buffer(value), "unsigned char"), c_.row_count(value));
    e.close();
    e.line("}}");
    return absl::OkStatus();
  }

  RegionContext& c_;
  const Node& node_;
  const Node& tail_;
  const Node* choice_;
};

}  // namespace

// The product of a router and what makes a choice of its rows. In a step of one row the worker that
// finishes its part of the product last goes on with the choice; with more rows it is a phase.
absl::Status lower_router(RegionContext& c, const Node& node) {
  const auto product = std::find_if(node.body.begin(), node.body.end(),
                                    [](const Node& n) { return n.op == Op::matmul; });
  if (product == node.body.end())
    return absl::InternalError(fmt::format("phase \"{}\" is no product", node.label));
  Node scores = node;
  scores.body.assign(node.body.begin(), product + 1);
  std::erase_if(scores.results, [&](ValueId id) {
    return ir::find_definition(scores.body, id) == nullptr || id == product->results[0];
  });
  Node tail = node;
  tail.body.assign(product + 1, node.body.end());
  std::erase_if(tail.results,
                [&](ValueId id) { return ir::find_definition(tail.body, id) == nullptr; });
  scores.results.push_back(product->results[0]);
  if (auto status = c.declare_vectors(node); !status.ok()) return status;
  Choice choice(c, tail, tail);
  if (c.one_row()) {
    const Buffer counter = c.pinned("router", 4);
    const auto choose = [&](Emitter& e) -> absl::Status {
      e.line("if (!arrives_last(launch, {})) return;", e.pointer(counter, "i32", Access::update));
      e.line("const Launch last = alone(launch);");
      return choice.emit(e, "&last");
    };
    if (auto status = lower_products(c, scores, choose); !status.ok()) return status;
    LoweredPhase& phase = c.lowered.phases.back();
    if (c.on_gpu()) phase.shared_bytes = std::max(phase.shared_bytes, choice.shared_bytes());
    return absl::OkStatus();
  }
  if (auto status = lower_products(c, scores, {}); !status.ok()) return status;
  Emitter e;
  if (auto status = choice.emit(e, "launch"); !status.ok()) return status;
  LoweredPhase& phase = c.finish(node.label + ".choice", e, ops_of(tail),
                                 fmt::format("of {}", c.width(product->results[0])));
  phase.rows_per_block = 1;
  phase.shared_bytes = choice.shared_bytes();
  return absl::OkStatus();
}

}  // namespace sinter::codegen
