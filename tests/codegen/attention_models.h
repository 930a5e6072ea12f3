// Models whose heads come to attention in many ways, and layers around it as families of models
// arrange them.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "tests/codegen/kernel_harness.h"

namespace sinter::codegen::test {

// Fused nodes of a kind.
size_t phases_of(const TestModel& model, std::string_view kind);

// q, k and v cut from rows and from heads, in either order: heads lie further apart than they are
// wide, not from the beginning of a row on, and their distance has nothing to do with 16.
std::vector<TestModel> cut_heads();
// What does not lie at one distance is brought together first, in a phase of its own.
TestModel unequal_heads();
// A norm of the rotated head, and a norm over the whole row of which q or k is a part.
// A norm over q and k together, with two readers, is a phase of its own.
std::vector<TestModel> norms_of_heads();
// Norms of values, with a weight and without, and norms of queries and keys without one: of heads,
// rotated heads and rows.
std::vector<TestModel> further_norms();
// Latent attention: of each key the first features are the head's own, the others are the same for
// all heads, or are the head's in another tensor; values are narrower. Rotated and not.
std::vector<TestModel> concatenated_keys();
// Queries that grow with their position: rotated by a table of their own, and where nothing turns.
std::vector<TestModel> growing_queries();
// Attention to what another phase of the step has appended, behind it and with a product between
// them; with everything that caches may be.
std::vector<TestModel> shared_caches();
// Post-norms, and norms of q and k over the whole row (OLMo 2): five phases. Attention and MLP of
// the same norm (Cohere, Phi): four. A gated query, with norms after the rotation: three.
std::vector<TestModel> arranged_layers();

}  // namespace sinter::codegen::test
