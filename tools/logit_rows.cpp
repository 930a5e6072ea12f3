#include "tools/logit_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/npy.h"
#include "tools/terminal.h"

namespace sinter::tools {

using runtime::Executor;
using runtime::Model;
using runtime::Result;
using runtime::Session;

Result<Rows> prefill_rows(const std::shared_ptr<Model>& model, Executor executor,
                          std::span<const int32_t> tokens, std::span<const int64_t> parts) {
  auto session = Session::create(model, std::ssize(tokens), executor);
  if (!session.ok()) return session.error();
  Rows rows;
  const auto take = [&](std::span<const float> logits, int64_t) {
    rows.insert(rows.end(), logits.begin(), logits.end());
  };
  while (!tokens.empty()) {
    throw_if_interrupted();
    int64_t count = std::ssize(tokens);
    if (!parts.empty()) {
      count = std::min(count, parts.front());
      parts = parts.subspan(1);
    }
    const auto part = tokens.first(static_cast<size_t>(count));
    if (auto status = (*session)->prefill(part, count, take); !status.ok()) return status.error();
    tokens = tokens.subspan(part.size());
  }
  return rows;
}

Result<Rows> decode_rows(const std::shared_ptr<Model>& model, Executor executor,
                         std::span<const int32_t> tokens) {
  auto session = Session::create(model, std::ssize(tokens), executor);
  if (!session.ok()) return session.error();
  Rows rows;
  for (const int32_t token : tokens) {
    throw_if_interrupted();
    if (auto status = (*session)->decode(token); !status.ok()) return status.error();
    const auto logits = (*session)->read_logits();
    if (!logits.ok()) return logits.error();
    rows.insert(rows.end(), logits->begin(), logits->end());
  }
  return rows;
}

Result<Rows> read_expected_logits(const std::string& path, int64_t tokens, int64_t vocab_size) {
  auto matrix = read_npy(path);
  if (!matrix.ok()) return matrix.error();
  if (matrix->rows != tokens || matrix->cols != vocab_size)
    return runtime::Error{
        fmt::format("{}: is {} x {}, but {} tokens of a vocabulary of {} have {} x {} logits", path,
                    matrix->rows, matrix->cols, tokens, vocab_size, tokens, vocab_size)};
  return std::move(matrix->values);
}

std::vector<double> row_errors(std::span<const float> a, std::span<const float> b, size_t cols) {
  std::vector<double> errors;
  for (size_t begin = 0; begin + cols <= a.size(); begin += cols) {
    double difference = 0, norm = 0;
    for (size_t i = begin; i < begin + cols; ++i) {
      const double d = static_cast<double>(a[i]) - static_cast<double>(b[i]);
      difference += d * d;
      norm += static_cast<double>(b[i]) * static_cast<double>(b[i]);
    }
    const double error = std::sqrt(difference) / std::max(std::sqrt(norm), 1e-30);
    errors.push_back(std::isfinite(error) ? error : HUGE_VAL);
  }
  return errors;
}

}  // namespace sinter::tools
