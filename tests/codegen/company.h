// What a row gets does not depend on the other rows of its step.
#pragma once

#include <vector>

#include "tests/codegen/kernel_harness.h"

namespace sinter::codegen::test {

// Steps of a few rows of several sequences give each row the bits that it gets in a step of its
// own: every tensor, and all that stays in states.
void expect_company_does_not_matter(const Kernels& kernels);
// Rows of one step at these positions, each of a sequence of its own, whose caches hold random
// numbers.
void expect_company_does_not_matter(const Kernels& kernels, const std::vector<int>& positions);

}  // namespace sinter::codegen::test
