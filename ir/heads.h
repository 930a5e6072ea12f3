// How the heads of a query, key or value come from the tensor that a phase reads them from: views,
// a norm and a rotation, in any order.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ir/graph.h"
#include "ir/views.h"

namespace sinter::ir {

// What a norm goes over: the features of each head, before or after they are rotated, or a whole
// row of which the heads are a part, before they are rotated.
enum class NormOf { head, rotated_head, row };

struct HeadSource {
  ValueId base = -1;           // the tensor that heads are read from
  Runs heads{1, 1};            // where in a row of it; as long as a head
  const Node* norm = nullptr;  // rms_norm, with a weight or without
  const Node* rope = nullptr;
  NormOf norm_of = NormOf::head;
  int64_t norm_begin = 0;          // of the row that a norm goes over, in that of `base`
  Runs norm_weights{1, 1};         // where a head's weights begin, of a norm over a row
  std::vector<const Node*> chain;  // all nodes behind `base`, the last first
  std::string stopped;             // why the node that makes `base` is not one of them, or empty
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
