// What must hold between the parts of a plan. The reader and the writer both ask, before anything
// else is done with it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/plan/plan.h"
#include "runtime/support/result.h"

namespace sinter::runtime {

inline constexpr uint64_t plan_alignment = 4096;  // of sections and the header
inline constexpr uint64_t largest_header = 64ull << 20;

struct NamedSection {
  std::string name;  // "weights", "code for x86-64-v4", ...
  const Section* section;
  bool is_weights = false;
};

// The sections that are there, in the order of the fields.
std::vector<NamedSection> present_sections(const Plan& plan);

// Sections must follow one another from 4096 up to the header without gaps beyond the alignment's.
Status check_sections(const Plan& plan, uint64_t header_offset);

// Indices and offsets: kernels, states, arguments within weights, arena and buffers, fills, sizes
// that cannot overflow.
Status check_contents(const Plan& plan);

}  // namespace sinter::runtime
