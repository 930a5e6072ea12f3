// The reference functions of the op table. Shapes are as in ir/ops.h and were checked by the
// caller; sums run in double.
#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "ir/interpreter.h"
#include "ir/ops.h"
#include "ir/weight_rows.h"

namespace sinter::ir {

// Error: a token outside the table.
absl::StatusOr<Array> embed(const Array& tokens, const WeightRows& table);
Array matmul(const Array& x, const WeightRows& weight);
// Columns of the k largest of every row.
Array top_k(const Array& x, int64_t k);
// `weight` has the rows of all experts, `out` of each. Error: an expert that is not there.
absl::StatusOr<Array> gather_matmul(const Array& x, const Array& experts, const WeightRows& weight,
                                    int64_t out);
// `y` has the shape of x or is one row [H] for all.
Array add(const Array& x, const Array& y);
Array mul(const Array& x, const Array& y);
// silu, gelu, gelu_erf, relu2 or sigmoid.
Array activation(Op op, const Array& x);
Array rms_norm(const Array& x, const Array& weight, double eps);
Array slice(const Array& x, int64_t begin, int64_t end);
Array last_rows(const Array& x, int64_t rows);
Array rope_table(const Array& inv_freq, int64_t tokens, int64_t position, double scale);
Array rope(const Array& x, const Array& table, bool interleaved);
// Cuts the cache to `position` rows, then appends those of x. Error: the cache has fewer.
absl::Status kv_append(Array& cache, const Array& x, int64_t position);
// Error: the caches do not reach to the step's last row.
absl::StatusOr<Array> attention(const Array& q, const Array& k, const Array& v, int64_t position,
                                double scale);

}  // namespace sinter::ir
