// The kinds of phases that `fused` nodes are, as C++: ir/regions.def has the rows.
#pragma once

#include <array>
#include <string_view>

#include "ir/ops.h"

namespace sinter::ir {

enum class RegionKind {
#define SINTER_REGION(kind, ...) kind,
#include "ir/regions.def"
};

struct Region {
  RegionKind kind;
  std::string_view name;  // the attribute `kind` of the node
  std::string_view what;
  bool (*may_hold)(Op op);  // as a node of the body
  bool (*alone)(Op op);     // an op that nothing absorbed becomes such a phase
  bool (*joins)(Op op);     // work on rows around it that is then part of the phase
};

// Predicates of the table.
namespace region_rule {

inline bool nothing(Op) { return false; }
template <Op... wanted>
bool only(Op op) {
  return ((op == wanted) || ...);
}
// What takes the rows of a tensor one by one.
inline bool on_rows(Op op) {
  return is_elementwise(op) || is_by_row(op) || is_by_head(op) || is_view(op) ||
         is(op, OpClass::state);
}
template <Op... wanted>
bool with_rows(Op op) {
  return only<wanted...>(op) || on_rows(op);
}
// What takes the columns of rows as they come.
template <Op... wanted>
bool with_lanes(Op op) {
  return only<wanted...>(op) || is_elementwise(op) || is_view(op);
}
// What embeddings of models have behind the table.
template <Op... wanted>
bool in_embedding(Op op) {
  return only<wanted..., Op::rotate, Op::affine>(op);
}
inline bool in_rows(Op op) { return on_rows(op) || is_of_columns(op); }
inline bool in_router(Op op) { return with_rows<Op::matmul, Op::top_k>(op) || is_of_columns(op); }
inline bool in_experts(Op op) {
  return with_rows<Op::gather_matmul, Op::gather_rows, Op::weighted_sum>(op);
}
inline bool row_work(Op op) {
  return is_of_columns(op) || is_elementwise(op) || is_by_row(op) || is_view(op);
}

}  // namespace region_rule

// In the order of the enumeration.
inline constexpr std::array kRegions = {
#define SINTER_REGION(kind, what, may_hold, alone, joins)                           \
  Region{RegionKind::kind,  #kind, what, region_rule::may_hold, region_rule::alone, \
         region_rule::joins},
#include "ir/regions.def"
};

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
