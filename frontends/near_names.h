// Names that may have been meant, for error messages.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/types/span.h"

namespace sinter::frontends {

// Up to `limit` of `names`, best first: small edit distance, or the same name under another prefix.
std::vector<std::string_view> near_names(std::string_view wanted,
                                         absl::Span<const std::string_view> names,
                                         size_t limit = 3);

}  // namespace sinter::frontends
