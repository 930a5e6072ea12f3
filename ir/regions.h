// The kinds of phases that `fused` nodes are: what passes form, the verifier checks and codegen
// lowers. A new kind is a row here, its lowering in codegen/regions/, and the pass that forms it.
#pragma once

#include <array>
#include <string_view>

#include "ir/ops.h"

namespace sinter::ir {

enum class RegionKind { embed, rope_table, matmul, attention, rows, top_k, router, experts };

struct Region {
  RegionKind kind;
  std::string_view name;  // the attribute `kind` of the node
  std::string_view what;
  bool (*may_hold)(Op op);  // as a node of the body
  bool (*alone)(Op op);     // an op that nothing absorbed becomes such a phase
};

// Predicates of the table.
namespace region_rule {

inline bool nothing(Op) { return false; }
template <Op wanted>
bool only(Op op) {
  return op == wanted;
}
// What takes the rows of a tensor one by one.
inline bool on_rows(Op op) {
  return is_elementwise(op) || is_by_row(op) || is_by_head(op) || is_view(op) ||
         is(op, OpClass::state);
}

}  // namespace region_rule

// In the order of the enumeration.
inline constexpr std::array<Region, 8> kRegions = {{
    {RegionKind::embed, "embed", "rows of a table", region_rule::only<Op::embed>,
     region_rule::only<Op::embed>},
    {RegionKind::rope_table, "rope_table", "cos and sin of the angles of a step's positions",
     region_rule::only<Op::rope_table>, region_rule::only<Op::rope_table>},
    {RegionKind::matmul, "matmul", "products of one input, and work on rows before and after each",
     [](Op op) { return op == Op::matmul || region_rule::on_rows(op); },
     region_rule::only<Op::matmul>},
    {RegionKind::attention, "attention",
     "attention, and work on the rows of q, k, v and its result",
     [](Op op) { return op == Op::attention || region_rule::on_rows(op); }, region_rule::nothing},
    {RegionKind::rows, "rows", "work on rows that no product took",
     [](Op op) { return op == Op::gather || region_rule::on_rows(op); },
     [](Op op) { return op == Op::gather || is_elementwise(op) || is_by_row(op) || is_view(op); }},
    {RegionKind::top_k, "top_k", "the columns of the largest of every row",
     region_rule::only<Op::top_k>, region_rule::only<Op::top_k>},
    {RegionKind::router, "router", "a product, and the choice among the columns of its rows",
     [](Op op) {
       return op == Op::matmul || op == Op::top_k || op == Op::gather || region_rule::on_rows(op);
     },
     region_rule::nothing},
    {RegionKind::experts, "experts",
     "products with the matrices that a router chose, and work on rows before and after",
     [](Op op) {
       return op == Op::gather_matmul || op == Op::weighted_sum || region_rule::on_rows(op);
     },
     region_rule::only<Op::gather_matmul>},
}};

constexpr const Region& region(RegionKind kind) { return kRegions[static_cast<size_t>(kind)]; }
// nullptr when unknown.
constexpr const Region* find_region(std::string_view name) {
  for (const Region& known : kRegions) {
    if (known.name == name) return &known;
  }
  return nullptr;
}
// Of a `fused` node whose kind the verifier has seen; nullptr for another node.
inline const Region* region_of(const Node& node) {
  return node.op == Op::fused ? find_region(node.text("kind")) : nullptr;
}
inline bool is_region(const Node& node, RegionKind kind) {
  return region_of(node) == &region(kind);
}

}  // namespace sinter::ir
