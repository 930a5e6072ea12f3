// Logits of every position of a sequence of tokens, made in different ways, and how far apart they
// are.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/session/session.h"
#include "runtime/support/result.h"

namespace sinter::tools {

using Rows = std::vector<float>;  // [tokens, vocab_size]

// In steps of as many tokens as `parts` says, in turn; behind its end, and where it is empty, all
// that are left at once.
runtime::Result<Rows> prefill_rows(const std::shared_ptr<runtime::Model>& model,
                                   runtime::Executor executor, std::span<const int32_t> tokens,
                                   std::span<const int64_t> parts = {});
// Token by token through the decode schedule.
runtime::Result<Rows> decode_rows(const std::shared_ptr<runtime::Model>& model,
                                  runtime::Executor executor, std::span<const int32_t> tokens);

// [tokens, vocab_size] from a NumPy file. Error: among others, another shape.
runtime::Result<Rows> read_expected_logits(const std::string& path, int64_t tokens,
                                           int64_t vocab_size);

// Of each row |a - b| / |b| (2-norms); infinite where a number is not finite.
std::vector<double> row_errors(std::span<const float> a, std::span<const float> b, size_t cols);

}  // namespace sinter::tools
