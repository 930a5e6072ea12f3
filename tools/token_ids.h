// Token ids from files.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/support/result.h"

namespace sinter::tools {

// Whole numbers from 0, separated by white space; at least one. Errors name the file and the entry.
runtime::Result<std::vector<int32_t>> read_token_ids(const std::string& path);

// Error: names the first id that is not below vocab_size.
runtime::Status check_token_ids(std::span<const int32_t> ids, int64_t vocab_size,
                                const std::string& name);

}  // namespace sinter::tools
