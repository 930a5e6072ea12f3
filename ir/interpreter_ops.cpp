#include "ir/interpreter_ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>
#include <numeric>
#include <thread>

#include "absl/types/span.h"

namespace sinter::ir {

namespace {

using Result = absl::StatusOr<Array>;

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

// The function sees doubles; the result is rounded once.
template <class Function>
Array map(const OpArguments& in, Function function) {
  Array out = in.array(0);
  for (float& value : out.data) value = static_cast<float>(function(double{value}));
  return out;
}

// Numbers of columns come from a step.
absl::Status check_columns(std::string_view op, const Array& columns, const Array& x) {
  for (const float column : columns.data)
    if (!(column >= 0 && column < static_cast<float>(x.shape.back())))
      return absl::InvalidArgumentError(
          fmt::format("[{}] column {} is not among the {}", op, column, x.shape.back()));
  return absl::OkStatus();
}

// The second operand has the shape of the first or is one row [H] for all.
template <class Function>
Array map2(const OpArguments& in, Function function) {
  const Array& y = in.array(1);
  Array out = in.array(0);
  for (size_t i = 0; i < out.data.size(); ++i) {
    out.data[i] = function(out.data[i], y.data[i % y.data.size()]);
  }
  return out;
}

// function(row, length) for every run along the last extent of a copy of the first operand.
template <class Function>
Array map_rows(const OpArguments& in, Function function) {
  Array out = in.array(0);
  const auto features = static_cast<size_t>(out.shape.back());
  for (size_t begin = 0; begin < out.data.size(); begin += features) {
    function(absl::MakeSpan(out.data).subspan(begin, features));
  }
  return out;
}

double sum_of_squares(absl::Span<const float> row, double mean = 0) {
  double sum = 0;
  for (const float x : row) sum += (x - mean) * (x - mean);
  return sum;
}

double sum(absl::Span<const float> row) {
  double total = 0;
  for (const float x : row) total += x;
  return total;
}

// Positions by the values there, the largest first; of equal ones the lower first.
void sort_by_value(std::vector<int64_t>& positions, const std::vector<float>& values) {
  std::sort(positions.begin(), positions.end(), [&](int64_t a, int64_t b) {
    const float x = values[static_cast<size_t>(a)];
    const float y = values[static_cast<size_t>(b)];
    return x > y || (x == y && a < b);
  });
}

}  // namespace

namespace reference {

Result embed(const OpArguments& in) {
  const Array& tokens = in.array(0);
  const WeightRows& table = in.matrix(1);
  const bool by_position = in.node.text("by") == "position";
  Array out = zeros({tokens.shape[0], table.cols()});
  for (size_t t = 0; t < tokens.data.size(); ++t) {
    float token =
        by_position ? static_cast<float>(in.position + static_cast<int64_t>(t)) : tokens.data[t];
    if (in.node.flag("first_beyond") && token >= static_cast<float>(table.rows())) token = 0;
    if (!(token >= 0 && token < static_cast<float>(table.rows()))) {
      return absl::InvalidArgumentError(fmt::format("[embed] {} {} is not in the table's 0..{}",
                                                    in.node.text("by"), token, table.rows() - 1));
    }
    table.row(static_cast<int64_t>(token), out.data.data() + t * static_cast<size_t>(table.cols()));
  }
  return out;
}

Result matmul(const OpArguments& in) {
  const Array& x = in.array(0);
  const WeightRows& weight = in.matrix(1);
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

Result top_k(const OpArguments& in) {
  const Array& x = in.array(0);
  const int64_t k = in.node.integer("k");
  const int64_t tokens = x.shape[0];
  const int64_t cols = x.shape[1];
  Array out = zeros({tokens, k});
  const int64_t groups = in.node.integer("groups");
  const int64_t kept = in.node.integer("groups_kept");
  const int64_t best = in.node.integer("group_best");
  const int64_t size = cols / groups;
  for (int64_t t = 0; t < tokens; ++t) {
    // A NaN counts as the smallest.
    std::vector<float> row(x.data.begin() + t * cols, x.data.begin() + (t + 1) * cols);
    for (float& value : row)
      if (std::isnan(value)) value = -std::numeric_limits<float>::infinity();
    std::vector<float> scores;
    for (int64_t g = 0; g < groups; ++g) {
      std::vector<float> group(row.begin() + g * size, row.begin() + (g + 1) * size);
      std::partial_sort(group.begin(), group.begin() + best, group.end(), std::greater<>());
      const float score = std::accumulate(group.begin(), group.begin() + best, 0.0F);
      scores.push_back(std::isnan(score) ? -std::numeric_limits<float>::infinity() : score);
    }
    std::vector<int64_t> order(static_cast<size_t>(groups));
    std::iota(order.begin(), order.end(), 0);
    sort_by_value(order, scores);
    order.resize(static_cast<size_t>(kept));
    std::vector<int64_t> columns;
    for (const int64_t g : order)
      for (int64_t c = g * size; c < (g + 1) * size; ++c) columns.push_back(c);
    sort_by_value(columns, row);
    for (int64_t i = 0; i < k; ++i)
      out.data[static_cast<size_t>(t * k + i)] =
          static_cast<float>(columns[static_cast<size_t>(i)]);
  }
  return out;
}

Result gather(const OpArguments& in) {
  const Array& x = in.array(0);
  const Array& columns = in.array(1);
  if (absl::Status status = check_columns("gather", columns, x); !status.ok()) return status;
  const auto width = static_cast<size_t>(x.shape.back());
  Array out = columns;
  for (size_t i = 0; i < out.data.size(); ++i) {
    const size_t row = x.shape.size() == 1 ? 0 : i / static_cast<size_t>(columns.shape[1]);
    out.data[i] = x.data[row * width + static_cast<size_t>(columns.data[i])];
  }
  return out;
}

// What is far below is decided in float32, as it was when the model was trained.
Result sparsemixer(const OpArguments& in) {
  const Array& x = in.array(0);
  const Array& columns = in.array(1);
  if (absl::Status status = check_columns("sparsemixer", columns, x); !status.ok()) return status;
  const auto margin = static_cast<float>(in.node.number("margin"));
  const auto width = static_cast<size_t>(x.shape[1]);
  const auto chosen = static_cast<size_t>(columns.shape[1]);
  Array out = columns;
  std::vector<bool> before(width);
  for (size_t i = 0; i < out.data.size(); ++i) {
    if (i % chosen == 0) before.assign(width, false);
    const float* row = x.data.data() + i / chosen * width;
    const auto column = static_cast<size_t>(columns.data[i]);
    double sum = 0;
    for (size_t j = 0; j < width; ++j) {
      const bool far = row[column] - row[j] > margin * std::max(std::abs(row[j]), row[column]);
      if (!before[j] && !far) sum += std::exp(double{row[j]} - row[column]);
    }
    out.data[i] = static_cast<float>(1 / sum);
    before[column] = true;
  }
  return out;
}

Result gather_rows(const OpArguments& in) {
  const Array& experts = in.array(0);
  const Array& rows = in.array(1);
  const int64_t width = in.node.integer("width");
  Array out{in.shape, {}};
  for (const float expert : experts.data) {
    if (!(expert >= 0 &&
          (static_cast<int64_t>(expert) + 1) * width <= static_cast<int64_t>(rows.data.size())))
      return absl::InvalidArgumentError(
          fmt::format("[gather_rows] row {} is not among the {}", expert,
                      static_cast<int64_t>(rows.data.size()) / width));
    const auto begin = rows.data.begin() + static_cast<int64_t>(expert) * width;
    out.data.insert(out.data.end(), begin, begin + width);
  }
  return out;
}

Result weighted_sum(const OpArguments& in) {
  const Array& x = in.array(0);
  const Array& w = in.array(1);
  const auto choices = static_cast<size_t>(x.shape[1]);
  const auto features = static_cast<size_t>(x.shape[2]);
  Array out = zeros({x.shape[0], x.shape[2]});
  for (size_t i = 0; i < out.data.size(); ++i) {
    const size_t row = i / features;
    double sum = 0;
    for (size_t k = 0; k < choices; ++k) {
      const size_t choice = row * choices + k;
      sum += static_cast<double>(w.data[choice]) * x.data[choice * features + i % features];
    }
    out.data[i] = static_cast<float>(sum);
  }
  return out;
}

Result gather_matmul(const OpArguments& in) {
  const Array& x = in.array(0);
  const Array& experts = in.array(1);
  const WeightRows& weight = in.matrix(2);
  const int64_t out = in.shape[2];
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

Result add(const OpArguments& in) {
  return map2(in, [](float x, float y) { return x + y; });
}

Result mul(const OpArguments& in) {
  return map2(in, [](float x, float y) { return x * y; });
}

Result div(const OpArguments& in) {
  return map2(in, [](double x, double y) { return static_cast<float>(x / y); });
}

Result silu(const OpArguments& in) {
  return map(in, [](double x) { return x / (1 + std::exp(-x)); });
}

Result gelu(const OpArguments& in) {
  return map(in, [](double x) {
    const double inner = std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
    return 0.5 * x * (1 + std::tanh(inner));
  });
}

Result gelu_erf(const OpArguments& in) {
  return map(in, [](double x) { return 0.5 * x * std::erfc(-x / std::numbers::sqrt2); });
}

Result relu2(const OpArguments& in) {
  return map(in, [](double x) { return x < 0 ? 0 : x * x; });
}

Result sigmoid(const OpArguments& in) {
  return map(in, [](double x) { return 1 / (1 + std::exp(-x)); });
}

Result tanh(const OpArguments& in) {
  return map(in, [](double x) { return std::tanh(x); });
}

Result sqrt(const OpArguments& in) {
  return map(in, [](double x) { return std::sqrt(x); });
}

Result exp(const OpArguments& in) {
  return map(in, [](double x) { return std::exp(x); });
}

Result softplus(const OpArguments& in) {
  // e^x alone would overflow.
  return map(in, [](double x) { return (x > 0 ? x : 0) + std::log1p(std::exp(-std::abs(x))); });
}

Result clamp(const OpArguments& in) {
  const auto min = static_cast<float>(in.node.number("min"));
  const auto max = static_cast<float>(in.node.number("max"));
  // A NaN stays one.
  return map(in, [=](double x) { return x < min ? min : x > max ? max : x; });
}

Result affine(const OpArguments& in) {
  const auto scale = static_cast<float>(in.node.number("scale"));
  const auto offset = static_cast<float>(in.node.number("offset"));
  return map(in, [=](double x) { return x * scale + offset; });
}

Result rms_norm(const OpArguments& in) {
  const Array* weight = in.operands.size() > 1 ? &in.array(1) : nullptr;
  return map_rows(in, [&](absl::Span<float> row) {
    const double mean = sum_of_squares(row) / static_cast<double>(row.size());
    const double scale = 1 / std::sqrt(mean + in.node.number("eps"));
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = static_cast<float>(row[i] * scale * (weight == nullptr ? 1.0F : weight->data[i]));
    }
  });
}

Result layer_norm(const OpArguments& in) {
  const Array& weight = in.array(1);
  const Array* bias = in.operands.size() > 2 ? &in.array(2) : nullptr;
  return map_rows(in, [&](absl::Span<float> row) {
    const auto count = static_cast<double>(row.size());
    const double mean = sum(row) / count;
    const double scale = 1 / std::sqrt(sum_of_squares(row, mean) / count + in.node.number("eps"));
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = static_cast<float>((row[i] - mean) * scale * weight.data[i] +
                                  (bias == nullptr ? 0.0F : bias->data[i]));
    }
  });
}

Result rotate(const OpArguments& in) {
  const Array* signs = in.operands.size() > 1 ? &in.array(1) : nullptr;
  const auto block = static_cast<size_t>(in.node.integer("block"));
  const bool inverse = in.node.flag("inverse");
  const double factor = 1 / std::sqrt(static_cast<double>(block));
  std::vector<double> y(block);
  return map_rows(in, [&](absl::Span<float> row) {
    const auto sign = [&](size_t i) { return signs == nullptr ? 1.0 : double{signs->data[i]}; };
    for (size_t begin = 0; begin < row.size(); begin += block) {
      for (size_t i = 0; i < block; ++i) y[i] = row[begin + i] * (inverse ? 1 : sign(begin + i));
      for (size_t apart = 1; apart < block; apart *= 2)
        for (size_t i = 0; i < block; ++i) {
          if ((i & apart) != 0) continue;
          const double sum = y[i] + y[i + apart];
          y[i + apart] = y[i] - y[i + apart];
          y[i] = sum;
        }
      for (size_t i = 0; i < block; ++i)
        row[begin + i] = static_cast<float>(y[i] * factor * (inverse ? sign(begin + i) : 1));
    }
  });
}

Result l2_norm(const OpArguments& in) {
  return map_rows(in, [&](absl::Span<float> row) {
    const double scale = 1 / std::sqrt(sum_of_squares(row) + in.node.number("eps"));
    for (float& x : row) x = static_cast<float>(x * scale);
  });
}

Result sum_norm(const OpArguments& in) {
  return map_rows(in, [&](absl::Span<float> row) {
    const double total = sum(row) + in.node.number("eps");
    for (float& x : row) x = static_cast<float>(x / total);
  });
}

Result mean(const OpArguments& in) {
  return map_rows(in, [](absl::Span<float> row) {
    const double mean = sum(row) / static_cast<double>(row.size());
    std::fill(row.begin(), row.end(), static_cast<float>(mean));
  });
}

Result softmax(const OpArguments& in) {
  return map_rows(in, [](absl::Span<float> row) {
    const double highest = *std::max_element(row.begin(), row.end());
    double total = 0;
    for (const float x : row) total += std::exp(x - highest);
    for (float& x : row) x = static_cast<float>(std::exp(x - highest) / total);
  });
}

Result reshape(const OpArguments& in) { return Array{in.shape, in.array(0).data}; }

Result slice(const OpArguments& in) {
  const Array& x = in.array(0);
  const int64_t begin = in.node.integer("begin");
  const int64_t end = in.node.integer("end");
  const int64_t features = x.shape.back();
  Array out = x;
  out.shape.back() = end - begin;
  out.data.clear();
  for (auto row = x.data.begin(); row != x.data.end(); row += features) {
    out.data.insert(out.data.end(), row + begin, row + end);
  }
  return out;
}

Result expand(const OpArguments& in) {
  const Array& x = in.array(0);
  const auto width = static_cast<size_t>(in.node.integer("width"));
  Array out{in.shape, {}};
  for (const float number : x.data) out.data.insert(out.data.end(), width, number);
  return out;
}

Result last_rows(const OpArguments& in) {
  const Array& x = in.array(0);
  const int64_t elements = in.logits_rows * x.shape[1];
  return Array{in.shape, std::vector<float>(x.data.end() - elements, x.data.end())};
}

Result rope_table(const OpArguments& in) {
  const Array& inv_freq = in.array(0);
  const size_t half = inv_freq.data.size();
  Array out = zeros({in.tokens, static_cast<int64_t>(2 * half)});
  const int64_t period = in.node.integer("log_period");
  const int64_t offset = in.node.integer("log_offset");
  for (int64_t t = 0; t < in.tokens; ++t) {
    const int64_t periods = (in.position + t + offset) / period;
    const double growth =
        1 + in.node.number("log_scale") * std::log1p(static_cast<double>(periods));
    const auto factor = static_cast<float>(in.node.number("scale") * growth);
    float* row = out.data.data() + static_cast<size_t>(t) * 2 * half;
    for (size_t i = 0; i < half; ++i) {
      // The product is rounded to float32 because the models were trained with angles computed so.
      const float angle = static_cast<float>(in.position + t) * inv_freq.data[i];
      row[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * factor;
      row[half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * factor;
    }
  }
  return out;
}

Result rope(const OpArguments& in) {
  const Array& x = in.array(0);
  const Array& table = in.array(1);
  const bool interleaved = in.node.text("style") == "interleaved";
  const auto begin = static_cast<size_t>(in.node.integer("begin"));
  Array out = x;
  const auto heads = static_cast<size_t>(x.shape[1]);
  const auto head_dim = static_cast<size_t>(x.shape[2]);
  const auto rotated = static_cast<size_t>(table.shape[1]);
  const size_t half = rotated / 2;
  for (size_t row = 0; row < static_cast<size_t>(x.shape[0]) * heads; ++row) {
    const float* angles = table.data.data() + row / heads * rotated;
    float* head = out.data.data() + row * head_dim + begin;
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

Result concat(const OpArguments& in) {
  const Array& x = in.array(0);
  const Array& y = in.array(1);
  Array out{in.shape, {}};
  const int64_t rows = x.shape[0] * x.shape[1];
  const int64_t heads_per_head = x.shape[1] / y.shape[1];
  for (int64_t row = 0; row < rows; ++row) {
    const auto first = x.data.begin() + row * x.shape[2];
    const auto second = y.data.begin() + row / heads_per_head * y.shape[2];
    out.data.insert(out.data.end(), first, first + x.shape[2]);
    out.data.insert(out.data.end(), second, second + y.shape[2]);
  }
  return out;
}

// Cuts the cache to the step's position, then appends the rows of x as the cache can hold them.
Result kv_append(const OpArguments& in) {
  Array& cache = in.state(0);
  const Array& x = in.array(1);
  const int64_t position = in.position;
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
      float* head = out + (position + t) * head_dim;
      std::copy_n(x.data.data() + (t * heads + h) * head_dim, head_dim, head);
      round_to(*in.format, head, head_dim);
    }
  }
  cache = std::move(grown);
  return Array{};
}

Result short_conv(const OpArguments& in) {
  const Array& x = in.array(0);
  const WeightRows& weight = in.matrix(1);
  Array& before = in.state(2);
  const int64_t tokens = x.shape[0];
  const int64_t channels = weight.rows();
  const int64_t taps = weight.cols();
  // All inputs, those of the state first.
  std::vector<float> inputs = before.data;
  inputs.insert(inputs.end(), x.data.begin(), x.data.end());
  Array out = zeros(x.shape);
  std::vector<float> tap(static_cast<size_t>(taps));
  for (int64_t c = 0; c < channels; ++c) {
    weight.row(c, tap.data());
    for (int64_t t = 0; t < tokens; ++t) {
      double sum = 0;
      for (int64_t j = 0; j < taps; ++j) {
        sum += double{tap[static_cast<size_t>(j)]} *
               inputs[static_cast<size_t>((t + j) * channels + c)];
      }
      out.data[static_cast<size_t>(t * channels + c)] = static_cast<float>(sum);
    }
  }
  before.data.assign(inputs.end() - std::ssize(before.data), inputs.end());
  return out;
}

// The state is rounded after every row, so that it does not matter in which steps rows come.
Result delta_rule(const OpArguments& in) {
  const Array& q = in.array(0);
  const Array& k = in.array(1);
  const Array& v = in.array(2);
  const Array& log_decay = in.array(3);
  const Array& beta = in.array(4);
  Array& state = in.state(5);
  const auto key_heads = static_cast<size_t>(k.shape[1]);
  const auto key_dim = static_cast<size_t>(k.shape[2]);
  const auto heads = static_cast<size_t>(v.shape[1]);
  const auto value_dim = static_cast<size_t>(v.shape[2]);
  const bool by_feature = log_decay.shape.size() == 3;
  const bool tiled = in.node.text("heads") == "tiled";
  Array out = zeros(v.shape);
  std::vector<double> decayed(key_dim);
  for (size_t row = 0; row < static_cast<size_t>(v.shape[0]) * heads; ++row) {
    const size_t h = row % heads;
    const size_t key_row =
        row / heads * key_heads + (tiled ? h % key_heads : h / (heads / key_heads));
    const float* query = q.data.data() + key_row * key_dim;
    const float* key = k.data.data() + key_row * key_dim;
    for (size_t i = 0; i < value_dim; ++i) {
      float* s = state.data.data() + (h * value_dim + i) * key_dim;
      double known = 0;
      for (size_t j = 0; j < key_dim; ++j) {
        const float log = log_decay.data[by_feature ? row * key_dim + j : row];
        decayed[j] = s[j] * std::exp(double{log});
        known += decayed[j] * key[j];
      }
      const double delta = (v.data[row * value_dim + i] - known) * beta.data[row];
      double y = 0;
      for (size_t j = 0; j < key_dim; ++j) {
        const double updated = decayed[j] + delta * key[j];
        y += updated * query[j];
        s[j] = static_cast<float>(updated);
      }
      out.data[row * value_dim + i] = static_cast<float>(y);
    }
  }
  return out;
}

// The state is rounded after every row, so that it does not matter in which steps rows come.
Result selective_scan(const OpArguments& in) {
  const Array& x = in.array(0);
  const Array& a = in.array(1);
  const Array& b = in.array(2);
  const Array& c = in.array(3);
  Array& state = in.state(4);
  const Array* dt = in.operands.size() > 5 ? &in.array(5) : nullptr;
  const Array* d = in.operands.size() > 6 ? &in.array(6) : nullptr;
  const auto heads = static_cast<size_t>(x.shape[1]);
  const auto head_dim = static_cast<size_t>(x.shape[2]);
  const auto groups = static_cast<size_t>(b.shape[1]);
  const auto columns = static_cast<size_t>(b.shape[2]);
  const bool by_column = a.data.size() != heads;
  Array out = zeros(x.shape);
  std::vector<double> decay(columns);
  for (size_t row = 0; row < static_cast<size_t>(x.shape[0]) * heads; ++row) {
    const size_t h = row % heads;
    const size_t group_row = row / heads * groups + h / (heads / groups);
    const float* in_row = b.data.data() + group_row * columns;
    const float* out_row = c.data.data() + group_row * columns;
    const double step = dt == nullptr ? 1.0 : dt->data[row];
    for (size_t j = 0; j < columns; ++j)
      decay[j] = std::exp(step * a.data[by_column ? h * columns + j : h]);
    for (size_t i = 0; i < head_dim; ++i) {
      const double input = x.data[row * head_dim + i];
      float* s = state.data.data() + (h * head_dim + i) * columns;
      double y = d == nullptr ? 0.0 : d->data[h] * input;
      for (size_t j = 0; j < columns; ++j) {
        const double updated = decay[j] * s[j] + step * input * in_row[j];
        y += updated * out_row[j];
        s[j] = static_cast<float>(updated);
      }
      out.data[row * head_dim + i] = static_cast<float>(y);
    }
  }
  return out;
}

Result attention(const OpArguments& in) {
  const Array& q = in.array(0);
  const Array& k = in.state(1);
  const Array& v = in.state(2);
  const Array* sinks = in.operands.size() > 3 ? &in.array(3) : nullptr;
  const int64_t position = in.position;
  const double scale = in.node.number("scale");
  const int64_t window = in.node.integer("window");
  const int64_t chunk = in.node.integer("chunk");
  const double softcap = in.node.number("softcap");
  const int64_t tokens = q.shape[0];
  const int64_t heads = q.shape[1];
  const int64_t qk_head_dim = q.shape[2];
  const int64_t v_head_dim = v.shape[2];
  const int64_t heads_per_kv_head = heads / k.shape[0];
  for (const Array* cache : {&k, &v}) {
    if (cache->shape[1] < position + tokens) {
      return absl::InvalidArgumentError(
          fmt::format("[attention] the cache has {} rows, the step needs {}; append to it first",
                      cache->shape[1], position + tokens));
    }
  }
  Array out = zeros({tokens, heads * v_head_dim});
  std::vector<double> scores;
  std::vector<double> sums(static_cast<size_t>(v_head_dim));
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t kv_head = h / heads_per_kv_head;
      const float* query = q.data.data() + (t * heads + h) * qk_head_dim;
      const float* keys = k.data.data() + kv_head * k.shape[1] * qk_head_dim;
      const float* numbers = v.data.data() + kv_head * v.shape[1] * v_head_dim;
      const int64_t end = position + t + 1;
      int64_t begin = window == 0 ? 0 : std::max<int64_t>(0, end - window);
      if (chunk > 0) begin = std::max(begin, (end - 1) / chunk * chunk);

      scores.clear();
      for (int64_t r = begin; r < end; ++r) {
        double score = 0;
        for (int64_t i = 0; i < qk_head_dim; ++i) {
          score += static_cast<double>(query[i]) * keys[r * qk_head_dim + i];
        }
        score *= scale;
        scores.push_back(softcap > 0 ? softcap * std::tanh(score / softcap) : score);
      }
      if (sinks != nullptr) scores.push_back(sinks->data[static_cast<size_t>(h)]);
      const double highest = *std::max_element(scores.begin(), scores.end());
      double total = 0;
      for (double& score : scores) total += score = std::exp(score - highest);

      std::fill(sums.begin(), sums.end(), 0);
      for (int64_t r = begin; r < end; ++r) {
        const double weight = scores[static_cast<size_t>(r - begin)] / total;
        for (int64_t i = 0; i < v_head_dim; ++i) {
          sums[static_cast<size_t>(i)] += weight * numbers[r * v_head_dim + i];
        }
      }
      std::copy(sums.begin(), sums.end(), out.data.begin() + (t * heads + h) * v_head_dim);
    }
  }
  return out;
}

}  // namespace reference

}  // namespace sinter::ir
