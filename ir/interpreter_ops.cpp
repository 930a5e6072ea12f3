#include "ir/interpreter_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>
#include <thread>

namespace sinter::ir {

namespace {

Array zeros(std::vector<int64_t> shape) {
  size_t elements = 1;
  for (int64_t extent : shape) elements *= static_cast<size_t>(extent);
  return {std::move(shape), std::vector<float>(elements)};
}

// Independent lanes let the compiler use vector instructions without reordering a sum behind our
// back.
double dot(const double* a, const double* b, int64_t n) {
  constexpr int64_t kLanes = 8;
  std::array<double, kLanes> lanes{};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int64_t l = 0; l < kLanes; ++l) lanes[static_cast<size_t>(l)] += a[i + l] * b[i + l];
  }
  double sum = 0;
  for (double lane : lanes) sum += lane;
  for (; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

template <class Function>
Array elementwise(const Array& x, const Array& y, Function function) {
  Array out = x;
  for (size_t i = 0; i < out.data.size(); ++i) {
    out.data[i] = function(x.data[i], y.data[i % y.data.size()]);
  }
  return out;
}

double activate(Op op, double x) {
  switch (op) {
    case Op::silu:
      return x / (1 + std::exp(-x));
    case Op::sigmoid:
      return 1 / (1 + std::exp(-x));
    case Op::relu2:
      return x < 0 ? 0 : x * x;
    case Op::gelu: {
      const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
      return 0.5 * x * (1 + std::tanh(inner));
    }
    case Op::gelu_erf:
      return 0.5 * x * std::erfc(-x / std::numbers::sqrt2);
    default:
      return x;
  }
}

}  // namespace

absl::StatusOr<Array> embed(const Array& tokens, const WeightRows& table) {
  Array out = zeros({tokens.shape[0], table.cols()});
  for (size_t t = 0; t < tokens.data.size(); ++t) {
    const float token = tokens.data[t];
    if (!(token >= 0 && token < static_cast<float>(table.rows()))) {
      return absl::InvalidArgumentError(
          fmt::format("[embed] token {} is not in the table's 0..{}", token, table.rows() - 1));
    }
    table.row(static_cast<int64_t>(token), out.data.data() + t * static_cast<size_t>(table.cols()));
  }
  return out;
}

Array matmul(const Array& x, const WeightRows& weight) {
  const int64_t tokens = x.shape[0];
  const int64_t cols = weight.cols();
  const int64_t rows = weight.rows();
  Array out = zeros({tokens, rows});
  const std::vector<double> input(x.data.begin(), x.data.end());

  const auto compute = [&](int64_t begin, int64_t end) {
    std::vector<float> decoded(static_cast<size_t>(cols));
    std::vector<double> row(static_cast<size_t>(cols));
    for (int64_t r = begin; r < end; ++r) {
      weight.row(r, decoded.data());
      std::copy(decoded.begin(), decoded.end(), row.begin());
      for (int64_t t = 0; t < tokens; ++t) {
        const double sum = dot(row.data(), input.data() + t * cols, cols);
        out.data[static_cast<size_t>(t * rows + r)] = static_cast<float>(sum);
      }
    }
  };
  // Threads do not change a result: each number is summed by one of them, in the same order.
  constexpr int64_t kFewRows = 64;
  if (rows < kFewRows) {
    compute(0, rows);
    return out;
  }
  std::thread upper([&] { compute(rows / 2, rows); });
  compute(0, rows / 2);
  upper.join();
  return out;
}

Array top_k(const Array& x, int64_t k) {
  const int64_t tokens = x.shape[0];
  const int64_t cols = x.shape[1];
  Array out = zeros({tokens, k});
  std::vector<int64_t> order(static_cast<size_t>(cols));
  for (int64_t t = 0; t < tokens; ++t) {
    const float* row = x.data.data() + t * cols;
    std::iota(order.begin(), order.end(), 0);
    // A NaN counts as the smallest.
    const auto value = [&](int64_t col) {
      return std::isnan(row[col]) ? -std::numeric_limits<float>::infinity() : row[col];
    };
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return value(a) > value(b) || (value(a) == value(b) && a < b);
    });
    for (int64_t i = 0; i < k; ++i)
      out.data[static_cast<size_t>(t * k + i)] = static_cast<float>(order[static_cast<size_t>(i)]);
  }
  return out;
}

absl::StatusOr<Array> gather_matmul(const Array& x, const Array& experts, const WeightRows& weight,
                                    int64_t out) {
  const int64_t pairs = experts.shape[0] * experts.shape[1];
  const int64_t cols = weight.cols();
  const int64_t count = weight.rows() / out;
  // Rows of x: one for a token, or one for each of its experts.
  const int64_t shared = x.shape.size() == 2 ? experts.shape[1] : 1;
  Array result = zeros({experts.shape[0], experts.shape[1], out});
  std::vector<float> decoded(static_cast<size_t>(cols));
  std::vector<double> row(static_cast<size_t>(cols));
  const std::vector<double> input(x.data.begin(), x.data.end());
  for (int64_t p = 0; p < pairs; ++p) {
    const float expert = experts.data[static_cast<size_t>(p)];
    if (!(expert >= 0 && expert < static_cast<float>(count))) {
      return absl::InvalidArgumentError(
          fmt::format("[gather_matmul] expert {} is not among the {}", expert, count));
    }
    for (int64_t r = 0; r < out; ++r) {
      weight.row(static_cast<int64_t>(expert) * out + r, decoded.data());
      std::copy(decoded.begin(), decoded.end(), row.begin());
      result.data[static_cast<size_t>(p * out + r)] =
          static_cast<float>(dot(row.data(), input.data() + p / shared * cols, cols));
    }
  }
  return result;
}

Array add(const Array& x, const Array& y) {
  return elementwise(x, y, [](float a, float b) { return a + b; });
}

Array mul(const Array& x, const Array& y) {
  return elementwise(x, y, [](float a, float b) { return a * b; });
}

Array activation(Op op, const Array& x) {
  Array out = x;
  for (float& value : out.data) value = static_cast<float>(activate(op, value));
  return out;
}

Array rms_norm(const Array& x, const Array& weight, double eps) {
  Array out = x;
  const size_t features = weight.data.size();
  for (size_t begin = 0; begin < out.data.size(); begin += features) {
    double squares = 0;
    for (size_t i = 0; i < features; ++i) {
      squares += static_cast<double>(x.data[begin + i]) * x.data[begin + i];
    }
    const double scale = 1 / std::sqrt(squares / static_cast<double>(features) + eps);
    for (size_t i = 0; i < features; ++i) {
      out.data[begin + i] = static_cast<float>(x.data[begin + i] * scale * weight.data[i]);
    }
  }
  return out;
}

Array slice(const Array& x, int64_t begin, int64_t end) {
  const int64_t features = x.shape.back();
  Array out = x;
  out.shape.back() = end - begin;
  out.data.clear();
  for (auto row = x.data.begin(); row != x.data.end(); row += features) {
    out.data.insert(out.data.end(), row + begin, row + end);
  }
  return out;
}

Array last_rows(const Array& x, int64_t rows) {
  return {{rows, x.shape[1]}, std::vector<float>(x.data.end() - rows * x.shape[1], x.data.end())};
}

Array rope_table(const Array& inv_freq, int64_t tokens, int64_t position, double scale) {
  const size_t half = inv_freq.data.size();
  Array out = zeros({tokens, static_cast<int64_t>(2 * half)});
  const auto factor = static_cast<float>(scale);
  for (int64_t t = 0; t < tokens; ++t) {
    float* row = out.data.data() + static_cast<size_t>(t) * 2 * half;
    for (size_t i = 0; i < half; ++i) {
      // The product is rounded to float32 because the models were trained with angles computed so.
      const float angle = static_cast<float>(position + t) * inv_freq.data[i];
      row[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * factor;
      row[half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * factor;
    }
  }
  return out;
}

Array rope(const Array& x, const Array& table, bool interleaved) {
  Array out = x;
  const auto heads = static_cast<size_t>(x.shape[1]);
  const auto head_dim = static_cast<size_t>(x.shape[2]);
  const auto rotated = static_cast<size_t>(table.shape[1]);
  const size_t half = rotated / 2;
  for (size_t row = 0; row < static_cast<size_t>(x.shape[0]) * heads; ++row) {
    const float* angles = table.data.data() + row / heads * rotated;
    float* head = out.data.data() + row * head_dim;
    for (size_t i = 0; i < half; ++i) {
      float& a = head[interleaved ? 2 * i : i];
      float& b = head[interleaved ? 2 * i + 1 : i + half];
      const float cos = angles[i];
      const float sin = angles[half + i];
      const float first = a * cos - b * sin;
      b = b * cos + a * sin;
      a = first;
    }
  }
  return out;
}

absl::Status kv_append(Array& cache, const Array& x, int64_t position) {
  const int64_t tokens = x.shape[0];
  const int64_t heads = x.shape[1];
  const int64_t head_dim = x.shape[2];
  const int64_t old_rows = cache.shape[1];
  if (old_rows < position) {
    return absl::InvalidArgumentError(
        fmt::format("[kv_append] the cache has {} rows at position {}", old_rows, position));
  }
  Array grown = zeros({heads, position + tokens, head_dim});
  for (int64_t h = 0; h < heads; ++h) {
    float* out = grown.data.data() + h * (position + tokens) * head_dim;
    std::copy_n(cache.data.data() + h * old_rows * head_dim, position * head_dim, out);
    for (int64_t t = 0; t < tokens; ++t) {
      std::copy_n(x.data.data() + (t * heads + h) * head_dim, head_dim,
                  out + (position + t) * head_dim);
    }
  }
  cache = std::move(grown);
  return absl::OkStatus();
}

absl::StatusOr<Array> attention(const Array& q, const Array& k, const Array& v, int64_t position,
                                double scale) {
  const int64_t tokens = q.shape[0];
  const int64_t heads = q.shape[1];
  const int64_t head_dim = q.shape[2];
  const int64_t heads_per_kv_head = heads / k.shape[0];
  for (const Array* cache : {&k, &v}) {
    if (cache->shape[1] < position + tokens) {
      return absl::InvalidArgumentError(
          fmt::format("[attention] the cache has {} rows, the step needs {}; append to it first",
                      cache->shape[1], position + tokens));
    }
  }
  Array out = zeros({tokens, heads * head_dim});
  std::vector<double> scores;
  std::vector<double> sums(static_cast<size_t>(head_dim));
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t kv_head = h / heads_per_kv_head;
      const float* query = q.data.data() + (t * heads + h) * head_dim;
      const float* keys = k.data.data() + kv_head * k.shape[1] * head_dim;
      const float* numbers = v.data.data() + kv_head * v.shape[1] * head_dim;
      const int64_t visible = position + t + 1;

      scores.assign(static_cast<size_t>(visible), 0);
      for (int64_t r = 0; r < visible; ++r) {
        double score = 0;
        for (int64_t i = 0; i < head_dim; ++i) {
          score += static_cast<double>(query[i]) * keys[r * head_dim + i];
        }
        scores[static_cast<size_t>(r)] = score * scale;
      }
      const double highest = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& score : scores) total += score = std::exp(score - highest);

      std::fill(sums.begin(), sums.end(), 0);
      for (int64_t r = 0; r < visible; ++r) {
        const double weight = scores[static_cast<size_t>(r)] / total;
        for (int64_t i = 0; i < head_dim; ++i) {
          sums[static_cast<size_t>(i)] += weight * numbers[r * head_dim + i];
        }
      }
      std::copy(sums.begin(), sums.end(), out.data.begin() + (t * heads + h) * head_dim);
    }
  }
  return out;
}

}  // namespace sinter::ir
