// Numbers that are none, among stored ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/types/span.h"
#include "ir/type.h"

namespace sinter::frontends {

// The index of the first element that is not finite; nullopt when all are.
std::optional<size_t> first_not_finite(ir::DType dtype, absl::Span<const uint8_t> bytes);

}  // namespace sinter::frontends
