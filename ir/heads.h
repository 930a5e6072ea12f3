// How the heads of a query, key or value come from the tensor that a phase reads them from: views,
// a norm and a rotation, in any order, and behind them a concatenation of two tensors.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/views.h"

namespace sinter::ir {

// What a norm goes over: the features of each head, before or after they are rotated, or a whole
// row of which the heads are a part, before they are rotated.
enum class NormOf { head, rotated_head, row };

// Where heads, or the same features of each, are read from.
struct HeadPlace {
  ValueId base = -1;  // a tensor
  Runs heads{1, 1};   // where in a row of it; one run is for all heads
};

struct HeadSource {
  HeadPlace first;
  std::optional<HeadPlace> rest;  // of the features behind those of `first`, where these are apart
  const Node* norm = nullptr;     // rms_norm, with a weight or without
  const Node* rope = nullptr;
  NormOf norm_of = NormOf::head;
  int64_t norm_begin = 0;          // of the row that a norm goes over, in that of `first.base`
  Runs norm_weights{1, 1};         // where a head's weights begin, of a norm over a row
  std::vector<const Node*> chain;  // all nodes behind these places, the last first
  std::string stopped;  // why the node that makes `first.base` is not one of them, or empty
};

// The node that makes a value, when it may be part of the chain; else nullptr.
using FindDefinition = std::function<const Node*(ValueId)>;

// Whose heads: those of values are not rotated, and only norms of single ones are part of the
// chain.
enum class HeadsOf { queries_or_keys, values };

// Follows a tensor [T, heads, head_dim] back.
HeadSource follow_heads(const Module& module, ValueId value, HeadsOf whose,
                        const FindDefinition& definition);

}  // namespace sinter::ir
