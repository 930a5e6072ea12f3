#include "ir/graph.h"

#include <gtest/gtest.h>

#include "ir/ops.h"
#include "ir/regions.h"
#include "ir/text.h"
#include "tests/ir/every_op.h"

namespace sinter::ir {
namespace {

Module every_op() { return *parse(kEveryOp, "every_op"); }

const Node& first_fused(const Module& module) {
  for (const Node& node : module.nodes) {
    if (node.op == Op::fused) return node;
  }
  return module.nodes.front();
}

TEST(Graph, TableRowsStandInTheOrderOfTheEnumeration) {
  for (size_t i = 0; i < op_table().size(); ++i) {
    EXPECT_EQ(static_cast<size_t>(op_table()[i].op), i) << op_table()[i].name;
    EXPECT_EQ(find_op(op_table()[i].name), &op_table()[i]);
  }
  EXPECT_EQ(info(Op::fused).name, "fused");
  EXPECT_EQ(find_op("melt"), nullptr);
}

TEST(Graph, RowsAreWhole) {
  for (const OpInfo& op : op_table()) {
    const bool form = op.op == Op::dequantize || op.op == Op::fused;
    EXPECT_EQ(op.reference == nullptr, form) << op.name;
    EXPECT_NE(op.shape_rule, nullptr) << op.name;
    // Optional operands stand last.
    for (size_t i = 0; i < op.least_operands(); ++i) EXPECT_FALSE(op.operands[i].is_optional);
    for (const AttributeInfo& attribute : op.attributes) {
      EXPECT_EQ(op.find_attribute(attribute.name), &attribute) << op.name;
    }
  }
  EXPECT_EQ(info(Op::add).find_attribute("eps"), nullptr);
}

TEST(Graph, EffectsFollowFromTheStatesThatAnOpTakes) {
  for (const OpInfo& op : op_table()) {
    const bool updates = op.op == Op::kv_append || op.op == Op::short_conv ||
                         op.op == Op::delta_rule || op.op == Op::selective_scan;
    const Effect expected = updates                  ? Effect::updates
                            : op.op == Op::attention ? Effect::reads
                                                     : Effect::none;
    EXPECT_EQ(op.effect(), expected) << op.name;
  }
}

TEST(Graph, RegionsStandInTheOrderOfTheEnumeration) {
  for (size_t i = 0; i < kRegions.size(); ++i) {
    EXPECT_EQ(static_cast<size_t>(kRegions[i].kind), i) << kRegions[i].name;
    EXPECT_EQ(find_region(kRegions[i].name), &kRegions[i]);
    EXPECT_EQ(&region(kRegions[i].kind), &kRegions[i]);
  }
  EXPECT_EQ(find_region("melt"), nullptr);
}

// An op that stands alone in a phase may be there, and no op belongs to two kinds of phases.
TEST(Graph, AnOpAloneHasOneRegion) {
  for (const OpInfo& op : op_table()) {
    int regions = 0;
    for (const Region& region : kRegions) {
      if (!region.alone(op.op)) continue;
      ++regions;
      EXPECT_TRUE(region.may_hold(op.op)) << region.name << ", " << op.name;
    }
    EXPECT_LE(regions, 1) << op.name;
  }
}

TEST(Graph, CountsUsesInBodiesAndReturns) {
  const Module module = every_op();
  const std::vector<int> uses = count_uses(module);
  EXPECT_EQ(uses[static_cast<size_t>(module.params[0])], 4);
  EXPECT_EQ(uses[static_cast<size_t>(module.find_symbol("layers.0.k"))], 3);
  EXPECT_EQ(uses[static_cast<size_t>(module.find_symbol("norm"))], 8);
  EXPECT_EQ(uses[static_cast<size_t>(module.returns[0])], 1);
  // The fused matmul is read by the two slices beside it.
  EXPECT_EQ(uses[static_cast<size_t>(first_fused(module).body[0].results[0])], 2);
}

TEST(Graph, InputsOfAFusedNodeAreWhatItsBodyReadsFromOutside) {
  const Module module = every_op();
  const Node& fused = first_fused(module);
  EXPECT_EQ(inputs_of(fused),
            (std::vector<ValueId>{fused.body[0].operands[0], module.find_symbol("kv")}));
  EXPECT_EQ(inputs_of(module.nodes[0]), module.nodes[0].operands);
}

TEST(Graph, FindsDefinitionsInsideBodies) {
  const Module module = every_op();
  const Node& fused = first_fused(module);
  const Node* slice = find_definition(module.nodes, fused.results[1]);
  ASSERT_NE(slice, nullptr);
  EXPECT_EQ(slice->op, Op::slice);
  EXPECT_EQ(slice->integer("begin", -1), 4);
  EXPECT_EQ(find_definition(module.nodes, module.params[0]), nullptr);
}

TEST(Graph, ReadsAttributesByKind) {
  Node node;
  node.attributes = {{"i", int64_t{3}}, {"d", 2.5}, {"s", std::string("x")}};
  EXPECT_EQ(node.integer("i", 0), 3);
  EXPECT_EQ(node.integer("d", 7), 7);
  EXPECT_EQ(node.number("i", 0), 3.0);
  EXPECT_EQ(node.number("d", 0), 2.5);
  EXPECT_EQ(node.number("none", 1.5), 1.5);
  EXPECT_EQ(node.text("s", ""), "x");
  EXPECT_EQ(node.text("i", "fallback"), "fallback");
}

TEST(Graph, ReadsAttributesThatAreLeftOutFromTheTable) {
  Node node;
  node.op = Op::rope_table;
  EXPECT_EQ(node.number("scale"), 1.0);
  node.attributes = {{"scale", int64_t{2}}};
  EXPECT_EQ(node.number("scale"), 2.0);
  node.op = Op::rope;
  EXPECT_EQ(node.text("style"), "half");
  node.op = Op::slice;
  EXPECT_EQ(node.integer("begin"), 0);
  node.attributes = {{"begin", int64_t{3}}};
  EXPECT_EQ(node.integer("begin"), 3);
}

TEST(Graph, FindsNoWeightThatAPassDropped) {
  Module module = every_op();
  const ValueId q = module.find_symbol("q");
  ASSERT_GE(q, 0);
  module.weights.erase(q);
  EXPECT_EQ(module.find_symbol("q"), -1);
}

}  // namespace
}  // namespace sinter::ir
