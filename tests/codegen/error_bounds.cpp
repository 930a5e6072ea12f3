#include "tests/codegen/error_bounds.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "ir/ops.h"
#include "ir/weight_rows.h"
#include "tests/codegen/company.h"

namespace sinter::codegen::test {

using ir::Op;
using ir::ValueId;

double rms_norm_error(int64_t n, bool lanes) {
  // The sum of squares: n / 32 additions in a lane, the lanes' sum, at most 31 features left over.
  // Halved by the root; then the root, the division and two products.
  const auto count = static_cast<double>(n);
  return ((lanes ? count / 32 + 40 : count) / 2 + 8) * kRounding;
}

namespace {

// Of a sum of n numbers, relative to the sum of their sizes: in 16 lanes or more, then the lanes',
// and at most 15 that are left over.
double sum_error(size_t n) { return (static_cast<double>(n) / 16 + 24) * kRounding; }

}  // namespace

double exp_error(Device device, double x) {
  if (device == Device::host) return 2e-7 + 4 * kRounding;
  return (4 + 1.25 * std::abs(x)) * kRounding;
}

const Judge::Table& Judge::table(ValueId weight) {
  if (const auto found = tables_.find(weight); found != tables_.end()) return found->second;
  const ir::WeightType& type = model_.module.weight(weight);
  Table& t = tables_[weight];
  t.rows = type.rows();
  t.cols = type.cols();
  const auto rows = ir::WeightRows::open(model_.module, weight, *model_.weights);
  EXPECT_TRUE(rows.ok()) << rows.status();
  std::vector<float> row(static_cast<size_t>(t.cols));
  for (int64_t r = 0; r < t.rows; ++r) {
    rows->row(r, row.data());
    t.weight.insert(t.weight.end(), row.begin(), row.end());
  }
  if (type.format.is_dense()) {
    for (const double w : t.weight) t.magnitude.push_back(std::abs(w));
    return t;
  }
  std::vector<uint8_t> codes(static_cast<size_t>(t.cols));
  std::vector<float> scales(static_cast<size_t>(t.cols));
  std::vector<float> offsets(static_cast<size_t>(t.cols));
  for (const std::string& source : model_.module.weights.at(weight).sources) {
    const auto matrix = model_.weights->matrix(source);
    EXPECT_TRUE(matrix.ok()) << matrix.status();
    const ir::WeightFormat& format = matrix->type.format;
    const int64_t group = format.group > 0 ? format.group : t.cols;
    // Kernels may take what codes stand for as unsigned numbers and a zero point, which is said
    // here apart from the code that is judged.
    const double zero = format.map == ir::CodeMap::fp4    ? 6
                        : format.map == ir::CodeMap::iq4  ? 127
                        : format.map == ir::CodeMap::sign ? 1
                                                          : format.zero_point();
    for (int64_t r = 0; r < matrix->type.rows(); ++r) {
      ir::decode_codes(*matrix, r, codes.data());
      ir::decode_scales(*matrix, r, scales.data(), offsets.data());
      for (int64_t c = 0; c < t.cols; ++c) {
        const double level = ir::level_of(format, codes[static_cast<size_t>(c)]);
        const auto g = static_cast<size_t>(c / group);
        t.magnitude.push_back(
            std::abs(matrix->tensor_scale) *
            (std::abs(double{scales[g]}) * (std::abs(level) + 2 * zero) + std::abs(offsets[g])));
      }
    }
  }
  return t;
}

std::vector<double> Judge::matmul_bound(const ir::Node& node, const StepValues& values,
                                        const Errors& errors) {
  const bool gathered = node.op == Op::gather_matmul;
  const ValueId weight = node.operands[gathered ? 2 : 1];
  const ir::Array& x = values.at(node.operands[0]);
  const Table& t = table(weight);
  const ir::WeightType& type = model_.module.weight(weight);
  const ir::WeightFormat& format = type.format;
  // Products, the row of x of each, and the rows of the weight that it takes.
  const int64_t products =
      gathered ? static_cast<int64_t>(values.at(node.operands[1]).data.size()) : x.shape[0];
  const int64_t rows_of_x = static_cast<int64_t>(x.data.size()) / t.cols;
  const int64_t taken = gathered ? type.shape[1] : t.rows;
  const auto known = errors.find(node.operands[0]);
  const bool floats = format.is_dense() || format.map == ir::CodeMap::fp8;
  const int64_t group = floats || format.group == 0 ? t.cols : dot_group(kernel_type(type));
  const int64_t groups = (t.cols + group - 1) / group;
  // Largest integer of a quantized activation; see QuantizedRows.
  const double top = kernels_.activations == Activations::a8 ? 127 : 127 * 256;
  // Roundings of a sum: one a column for dense weights. Integer dot products are exact; a group
  // adds one, and its scaling a few.
  const auto terms = static_cast<double>(floats ? t.cols + 8 : groups + 10);

  std::vector<double> out;
  for (int64_t product = 0; product < products; ++product) {
    const int64_t row = product * rows_of_x / products;
    const int64_t first =
        gathered ? taken * static_cast<int64_t>(
                               values.at(node.operands[1]).data[static_cast<size_t>(product)])
                 : 0;
    std::vector<double> size(static_cast<size_t>(t.cols));   // of x
    std::vector<double> error(static_cast<size_t>(t.cols));  // of x before quantization
    std::vector<double> step(static_cast<size_t>(t.cols), 0.0);
    for (int64_t c = 0; c < t.cols; ++c) {
      const auto i = static_cast<size_t>(c);
      size[i] = std::abs(double{x.data[static_cast<size_t>(row * t.cols + c)]});
      if (known != errors.end()) error[i] = known->second[static_cast<size_t>(row * t.cols + c)];
    }
    if (!floats)
      for (int64_t g = 0; g < groups; ++g) {
        // Where all columns share a scale it does not fall below that of 1e-5.
        double largest = format.group == 0 ? 1e-5 : 0;
        const int64_t end = std::min(t.cols, (g + 1) * group);
        for (int64_t c = g * group; c < end; ++c)
          largest = std::max(largest, size[static_cast<size_t>(c)] + error[static_cast<size_t>(c)]);
        std::fill(step.begin() + g * group, step.begin() + end, largest / top);
      }
    for (int64_t r = first; r < first + taken; ++r) {
      const double* w = t.weight.data() + r * t.cols;
      const double* magnitude = t.magnitude.data() + r * t.cols;
      double given = 0;     // from the prologue
      double worst = 0;     // of rounding to whole steps: all at their half, all in one direction
      double variance = 0;  // of the same as independent uniform errors
      double rounding = 0;
      for (int64_t c = 0; c < t.cols; ++c) {
        const auto i = static_cast<size_t>(c);
        given += error[i] * std::abs(w[c]);
        // The division by the step is rounded too: up to 2^-7 steps.
        worst += 0.51 * step[i] * std::abs(w[c]);
        variance += step[i] * step[i] * w[c] * w[c] / 12;
        rounding += (size[i] + step[i]) * magnitude[c];
      }
      // Seven standard deviations are as good as the worst case for many columns, and far tighter.
      out.push_back(1.01 * given + std::min(worst, 7 * std::sqrt(variance)) +
                    1.01 * terms * kRounding * rounding + 1e-35);
    }
  }
  return out;
}

// Inputs are rounded by what made them; products are summed one after another.
std::pair<std::vector<double>, std::vector<double>> Judge::convolution_bound(
    const ir::Node& node, const StepValues& values, const Errors& errors) {
  const Table& t = table(node.operands[1]);
  const std::vector<float>& x = values.at(node.operands[0]).data;
  std::vector<double> inputs, given;  // those of the state first
  for (const float number : values.at(node.operands[2]).data) inputs.push_back(number);
  given.resize(inputs.size());
  const size_t kept = inputs.size();
  inputs.insert(inputs.end(), x.begin(), x.end());
  const auto known = errors.find(node.operands[0]);
  if (known != errors.end()) given.insert(given.end(), known->second.begin(), known->second.end());
  given.resize(inputs.size());
  std::vector<double> result;
  const auto channels = static_cast<size_t>(t.rows);
  const auto taps = static_cast<size_t>(t.cols);
  for (size_t i = 0; i < x.size(); ++i) {
    double error = 0;
    for (size_t j = 0; j < taps; ++j) {
      const double w = std::abs(t.weight[i % channels * taps + j]);
      const size_t at = i + j * channels;
      error += w * given[at] +
               static_cast<double>(taps + 1) * kRounding * (w * (std::abs(inputs[at]) + given[at]));
    }
    result.push_back(error);
  }
  return {result, {given.end() - static_cast<ptrdiff_t>(kept), given.end()}};
}

namespace {

// Of a sum of n products by matrix units for float32, relative to the sum of their sizes: what is
// left out of a product and cut off its parts is 2^-19 of it at most, 32 roundings; a product is
// three, and of each eight are added at a time, cut off twice.
double unit_sum_error(size_t n) { return (40 + 0.75 * static_cast<double>(n)) * kRounding; }

}  // namespace

// Rows of the state are bounded by the norm of their error, not number by number: a row of a
// sequence multiplies the error of a row of the state by decay (1 - beta k k^T), which lengthens no
// error by more than the factor of its largest eigenvalue, and adds what rounding and the errors of
// q, k, v and the gates make of that row itself. So bounds do not grow with the sequence beyond
// what they are of.
//
// In chunks (codegen/device/gpu/delta_chunks.h) a row is made of the state before its chunk and of
// what the rows before it have added, whose sizes together are `mass`. The inverse that they are
// found by has no number above one where the rule makes no state longer; it is a triangle of 16
// rows, so that its own sums and those of what it multiplies have 16 numbers each.
std::pair<std::vector<double>, std::vector<double>> Judge::delta_bound(const ir::Node& node,
                                                                       const StepValues& values,
                                                                       const Errors& errors) {
  const auto error_of = [&](size_t operand, size_t i) {
    const auto known = errors.find(node.operands[operand]);
    return known == errors.end() ? 0.0 : known->second[i];
  };
  const auto number = [&](size_t operand, size_t i) {
    return double{values.at(node.operands[operand]).data[i]};
  };
  const ir::Array& keys = values.at(node.operands[1]);
  const ir::Array& v = values.at(node.operands[2]);
  const bool by_feature = values.at(node.operands[3]).shape.size() == 3;
  const auto key_heads = static_cast<size_t>(keys.shape[1]);
  const auto key_dim = static_cast<size_t>(keys.shape[2]);
  const auto heads = static_cast<size_t>(v.shape[1]);
  const auto value_dim = static_cast<size_t>(v.shape[2]);
  const std::vector<float>& before = values.at(node.operands[5]).data;
  std::vector<double> state(before.begin(), before.end());
  std::vector<double> moved(heads * value_dim, 0.0);  // norms of the errors of its rows
  std::vector<double> result(v.data.size(), 0.0);
  const bool chunks = in_chunks_ && !by_feature && key_dim <= 128;
  const double sum = sum_error(key_dim);
  const double unit = chunks ? unit_sum_error(key_dim) : 0.0;
  const double inverse = chunks ? 16 * (16 + 52) * kRounding : 0.0;
  std::vector<double> mass(moved.size(), 0.0);
  std::vector<double> largest(moved.size(), 0.0);  // of what the inverse multiplies
  for (size_t i = 0; i < state.size(); ++i) mass[i / key_dim] += state[i] * state[i];
  for (double& size : mass) size = std::sqrt(size);
  for (size_t row = 0; row < static_cast<size_t>(v.shape[0]) * heads; ++row) {
    const size_t h = row % heads;
    const size_t key_row =
        (row / heads * key_heads +
         (node.text("heads") == "tiled" ? h % key_heads : h / (heads / key_heads))) *
        key_dim;
    const double beta = number(4, row);
    double key_norm = 0, query_norm = 0, key_error = 0;
    for (size_t j = 0; j < key_dim; ++j) {
      key_norm += number(1, key_row + j) * number(1, key_row + j);
      query_norm += number(0, key_row + j) * number(0, key_row + j);
      key_error += error_of(1, key_row + j) * error_of(1, key_row + j);
    }
    const double stretch = std::max(1.0, std::abs(1 - beta * key_norm));
    key_norm = std::sqrt(key_norm);
    query_norm = std::sqrt(query_norm);
    key_error = std::sqrt(key_error);
    for (size_t i = 0; i < value_dim; ++i) {
      double* s = &state[(h * value_dim + i) * key_dim];
      double& error = moved[h * value_dim + i];
      double largest_decay = 0;
      double decay_error = 0;  // of S times the decay, by that of the decay; then its norm
      double known = 0;
      double known_error = 0;
      for (size_t j = 0; j < key_dim; ++j) {
        const size_t gate = by_feature ? row * key_dim + j : row;
        const double log = number(3, gate);
        const double decay = std::exp(log);
        largest_decay = std::max(largest_decay, decay);
        s[j] *= decay;
        const double off = exp_error(kernels_.device(), log) + std::expm1(error_of(3, gate)) +
                           2 * kRounding + (chunks ? 4 * std::abs(log) * kRounding : 0.0);
        decay_error += off * s[j] * off * s[j];
        known += s[j] * number(1, key_row + j);
        known_error += std::abs(s[j]) * error_of(1, key_row + j) +
                       sum * std::abs(s[j] * number(1, key_row + j));
      }
      error = largest_decay * error + std::sqrt(decay_error);
      double& row_mass = mass[h * value_dim + i];
      double& most = largest[h * value_dim + i];
      row_mass *= largest_decay;
      known_error += unit * row_mass * key_norm;
      most = std::max(
          most, std::abs(beta) * (std::abs(number(2, row * value_dim + i)) + row_mass * key_norm));
      const double off = number(2, row * value_dim + i) - known;
      const double delta = beta * off;
      const double delta_error =
          std::abs(beta) * (error_of(2, row * value_dim + i) + known_error + error * key_error +
                            2 * kRounding * std::abs(off)) +
          error_of(4, row) * (std::abs(off) + known_error + error * key_norm) +
          2 * kRounding * std::abs(delta) + inverse * most;
      row_mass += std::abs(delta) * key_norm;
      double size = 0;
      double y = 0;
      double y_error = 0;
      for (size_t j = 0; j < key_dim; ++j) {
        s[j] += delta * number(1, key_row + j);
        size += s[j] * s[j];
        y += s[j] * number(0, key_row + j);
        y_error += std::abs(s[j]) * error_of(0, key_row + j) +
                   sum * std::abs(s[j] * number(0, key_row + j));
      }
      error =
          1.01 * (stretch * error + delta_error * (key_norm + key_error) +
                  std::abs(delta) * key_error + 2 * kRounding * std::sqrt(size) + unit * row_mass) +
          1e-37;
      result[row * value_dim + i] =
          1.01 * (error * query_norm + y_error + unit * row_mass * query_norm) +
          kRounding * std::abs(y) + 1e-37;
    }
  }
  std::vector<double> of_state;
  for (const double error : moved) of_state.insert(of_state.end(), key_dim, error);
  return {result, of_state};
}

// Elements of a state meet in sums of results alone: the error of each is that of the row before,
// times the decay, and what the row adds of errors and roundings.
std::pair<std::vector<double>, std::vector<double>> Judge::scan_bound(const ir::Node& node,
                                                                      const StepValues& values,
                                                                      const Errors& errors) {
  const auto error_of = [&](size_t operand, size_t i) {
    const auto known = errors.find(node.operands[operand]);
    return known == errors.end() ? 0.0 : known->second[i];
  };
  const auto number = [&](size_t operand, size_t i) {
    return double{values.at(node.operands[operand]).data[i]};
  };
  const ir::Array& x = values.at(node.operands[0]);
  const std::vector<double>& rates = table(node.operands[1]).weight;
  const ir::Array& b = values.at(node.operands[2]);
  const bool has_step = node.operands.size() > 5;
  const bool has_skip = node.operands.size() > 6;
  const auto heads = static_cast<size_t>(x.shape[1]);
  const auto head_dim = static_cast<size_t>(x.shape[2]);
  const auto groups = static_cast<size_t>(b.shape[1]);
  const auto columns = static_cast<size_t>(b.shape[2]);
  const std::vector<float>& before = values.at(node.operands[4]).data;
  std::vector<double> state(before.begin(), before.end());
  std::vector<double> moved(state.size(), 0.0);
  std::vector<double> result(x.data.size(), 0.0);
  const double sum = sum_error(columns);
  for (size_t row = 0; row < static_cast<size_t>(x.shape[0]) * heads; ++row) {
    const size_t h = row % heads;
    const size_t group_row = (row / heads * groups + h / (heads / groups)) * columns;
    const double step = has_step ? number(5, row) : 1.0;
    const double step_error = has_step ? error_of(5, row) : 0.0;
    for (size_t i = 0; i < head_dim; ++i) {
      const size_t channel = row * head_dim + i;
      const double in = number(0, channel);
      const double in_error = error_of(0, channel);
      const double input = step * in;
      const double input_error = std::abs(step) * in_error + std::abs(in) * step_error +
                                 in_error * step_error + kRounding * std::abs(input);
      double y = 0;
      double y_error = 0;
      for (size_t j = 0; j < columns; ++j) {
        double& s = state[(h * head_dim + i) * columns + j];
        double& error = moved[(h * head_dim + i) * columns + j];
        const double rate = rates[rates.size() == heads ? h : h * columns + j];
        const double log = step * rate;
        const double decay = std::exp(log);
        const double off = exp_error(kernels_.device(), log) +
                           std::expm1(std::abs(rate) * step_error + kRounding * std::abs(log)) +
                           2 * kRounding;
        const double to = number(2, group_row + j);
        const double to_error = error_of(2, group_row + j);
        error = 1.01 * (decay * error * (1 + off) + off * decay * std::abs(s) +
                        input_error * (std::abs(to) + to_error) + std::abs(input) * to_error +
                        kRounding * (std::abs(input * to) + decay * std::abs(s)));
        s = decay * s + input * to;
        error += 2 * kRounding * std::abs(s) + 1e-37;
        const double from = number(3, group_row + j);
        const double from_error = error_of(3, group_row + j);
        y += s * from;
        y_error +=
            (std::abs(s) + error) * from_error + error * std::abs(from) + sum * std::abs(s * from);
      }
      if (has_skip) {
        const double skip = table(node.operands[6]).weight[h];
        y_error += std::abs(skip) * in_error + kRounding * std::abs(skip * in);
        y += skip * in;
      }
      result[channel] = 1.01 * y_error + 2 * kRounding * std::abs(y) + 1e-37;
    }
  }
  return {result, moved};
}

std::vector<double> Judge::bound(const ir::Node& node, const StepValues& values,
                                 const Errors& errors) {
  const ir::Array& result = values.at(node.results[0]);
  const size_t count = result.data.size();
  std::vector<double> out(count, 0.0);
  // A tensor or a weight vector at the place of element i of the result, and its error.
  const auto operand = [&](size_t n, size_t i) -> std::pair<double, double> {
    const ValueId id = node.operands[n];
    if (model_.module.is_weight(id)) {
      const Table& t = table(id);
      return {t.weight[i % t.weight.size()], 0.0};
    }
    const auto error = errors.find(id);
    return {values.at(id).data[i], error == errors.end() ? 0.0 : error->second[i]};
  };
  const auto exp_of = [&](double x) { return exp_error(kernels_.device(), x); };
  switch (node.op) {
    case Op::embed: {
      const Table& t = table(node.operands[1]);
      if (model_.module.weight(node.operands[1]).format.is_dense()) return out;
      const ir::Array& tokens = values.at(node.operands[0]);
      for (size_t i = 0; i < count; ++i) {
        auto token = static_cast<size_t>(tokens.data[i / static_cast<size_t>(t.cols)]);
        if (node.flag("first_beyond") && token >= static_cast<size_t>(t.rows)) token = 0;
        const auto cols = static_cast<size_t>(t.cols);
        out[i] = 2 * kRounding * t.magnitude[token * cols + i % cols];
      }
      return out;
    }
    case Op::matmul:
    case Op::gather_matmul:
      return matmul_bound(node, values, errors);
    case Op::short_conv:
      return convolution_bound(node, values, errors).first;
    case Op::delta_rule:
      return delta_bound(node, values, errors).first;
    case Op::selective_scan:
      return scan_bound(node, values, errors).first;
    case Op::top_k:
      return out;
    case Op::rope_table: {
      // The same float32 angle; cos or sin rounded, times the scale. Of a logarithm's sum some
      // roundings are relative to its terms, the largest of which is below 22.
      const double growth = std::abs(node.number("log_scale")) * 22;
      std::fill(out.begin(), out.end(),
                (4 + 12 * growth) * kRounding * std::abs(node.number("scale", 1.0)));
      return out;
    }
    case Op::reshape:
      for (size_t i = 0; i < count; ++i) out[i] = operand(0, i).second;
      return out;
    case Op::last_rows: {
      const auto error = errors.find(node.operands[0]);
      if (error != errors.end())
        std::copy(error->second.end() - static_cast<ptrdiff_t>(count), error->second.end(),
                  out.begin());
      return out;
    }
    case Op::rms_norm:
    case Op::l2_norm: {
      const auto n = static_cast<size_t>(result.shape.back());
      const std::vector<float>& x = values.at(node.operands[0]).data;
      for (size_t row = 0; row < count; row += n) {
        double squares = 0;
        double moved = 0;  // the sum of squares, by the errors of x
        for (size_t i = row; i < row + n; ++i) {
          const double error = operand(0, i).second;
          squares += double{x[i]} * x[i];
          moved += 2 * std::abs(x[i]) * error + error * error;
        }
        const double eps = node.number("eps");
        const double of = node.op == Op::rms_norm ? static_cast<double>(n) : 1.0;
        const double scale = 1 / std::sqrt(squares / of + eps);
        for (size_t i = row; i < row + n; ++i) {
          const double weight = node.operands.size() > 1 ? std::abs(operand(1, i).first) : 1.0;
          const double y = std::abs(double{result.data[i]});
          out[i] =
              rms_norm_error(result.shape.back(), true) * y +
              1.02 * (weight * scale * operand(0, i).second + 0.5 * moved / of * scale * scale * y);
        }
      }
      return out;
    }
    case Op::layer_norm: {
      const auto n = static_cast<size_t>(result.shape.back());
      const std::vector<float>& x = values.at(node.operands[0]).data;
      for (size_t row = 0; row < count; row += n) {
        double mean = 0;
        double size = 0;
        for (size_t i = row; i < row + n; ++i) {
          mean += x[i] / static_cast<double>(n);
          size += std::abs(double{x[i]}) / static_cast<double>(n);
        }
        double variance = 0;
        for (size_t i = row; i < row + n; ++i)
          variance += (x[i] - mean) * (x[i] - mean) / static_cast<double>(n);
        const double scale = 1 / std::sqrt(variance + node.number("eps"));
        // The sum of the mean, whose error all elements share, and that of the squares.
        double given = 0;  // the errors of x
        for (size_t i = row; i < row + n; ++i) given = std::max(given, operand(0, i).second);
        const double off = sum_error(n) * size + 3 * given;
        const double relative = rms_norm_error(static_cast<int64_t>(n), true) +
                                (off * off + 2 * kRounding * variance) * scale * scale;
        for (size_t i = row; i < row + n; ++i) {
          const double weight = operand(1, i).first;
          const double bias = node.operands.size() > 2 ? operand(2, i).first : 0.0;
          const double y = (x[i] - mean) * scale * weight;
          out[i] = std::abs(weight) * scale * (off + kRounding * std::abs(x[i] - mean)) +
                   relative * std::abs(y) + 2 * kRounding * (std::abs(y) + std::abs(bias));
        }
      }
      return out;
    }
    case Op::sum_norm: {
      const auto n = static_cast<size_t>(result.shape.back());
      const std::vector<float>& x = values.at(node.operands[0]).data;
      for (size_t row = 0; row < count; row += n) {
        double sum = node.number("eps");
        double off = 0;  // of the sum
        for (size_t i = row; i < row + n; ++i) {
          sum += x[i];
          off += operand(0, i).second + sum_error(n) * std::abs(double{x[i]});
        }
        for (size_t i = row; i < row + n; ++i)
          out[i] = 1.02 * (operand(0, i).second + off * std::abs(double{result.data[i]})) /
                       std::abs(sum) +
                   4 * kRounding * std::abs(double{result.data[i]});
      }
      return out;
    }
    case Op::mean: {
      const auto n = static_cast<size_t>(result.shape.back());
      const std::vector<float>& x = values.at(node.operands[0]).data;
      for (size_t row = 0; row < count; row += n) {
        double off = 0;
        for (size_t i = row; i < row + n; ++i)
          off += operand(0, i).second + sum_error(n) * std::abs(double{x[i]});
        const double y = std::abs(double{result.data[row]});
        std::fill_n(out.begin() + static_cast<ptrdiff_t>(row), n,
                    1.01 * off / static_cast<double>(n) + 2 * kRounding * y);
      }
      return out;
    }
    case Op::gather: {
      if (model_.module.is_weight(node.operands[0])) return out;
      const auto width = static_cast<size_t>(values.at(node.operands[0]).shape.back());
      const auto chosen = static_cast<size_t>(result.shape.back());
      for (size_t i = 0; i < count; ++i) {
        const auto column = static_cast<size_t>(values.at(node.operands[1]).data[i]);
        out[i] = operand(0, i / chosen * width + column).second;
      }
      return out;
    }
    case Op::sparsemixer: {
      const auto width = static_cast<size_t>(values.at(node.operands[0]).shape.back());
      const auto chosen = static_cast<size_t>(result.shape.back());
      const std::vector<float>& columns = values.at(node.operands[1]).data;
      for (size_t i = 0; i < count; ++i) {
        const size_t row = i / chosen * width;
        const auto [c, ec] = operand(0, row + static_cast<size_t>(columns[i]));
        double sum = 0;
        double off = 0;      // of the terms
        double unclear = 0;  // terms that rounding brings in or leaves out
        for (size_t j = 0; j < width; ++j) {
          const auto* const before = columns.data() + i / chosen * chosen;
          if (std::find(before, before + i % chosen, static_cast<float>(j)) != before + i % chosen)
            continue;
          const auto [x, ex] = operand(0, row + j);
          const double margin = node.number("margin") * std::max(std::abs(x), c);
          const double term = std::exp(x - c);
          if (std::abs(c - x - margin) <=
              1.01 * (1 + node.number("margin")) * (ec + ex) + 4 * kRounding * std::abs(margin)) {
            unclear += term;
          } else if (c - x <= margin) {
            sum += term;
            off += term * (exp_of(x - c) + kRounding * std::abs(x - c) + std::expm1(ec + ex));
          }
        }
        off += unclear + sum_error(width) * sum;
        out[i] = off < sum ? result.data[i] * (off / (sum - off) + 4 * kRounding) : 1.0;
      }
      return out;
    }
    case Op::weighted_sum: {
      const auto features = static_cast<size_t>(result.shape.back());
      const auto choices = static_cast<size_t>(values.at(node.operands[1]).shape.back());
      for (size_t i = 0; i < count; ++i)
        for (size_t k = 0; k < choices; ++k) {
          const size_t choice = i / features * choices + k;
          const auto [x, ex] = operand(0, choice * features + i % features);
          const auto [w, ew] = operand(1, choice);
          out[i] += std::abs(w) * ex + std::abs(x) * ew + ex * ew +
                    (static_cast<double>(choices) + 2) * kRounding * std::abs(x * w);
        }
      return out;
    }
    case Op::softmax: {
      const auto n = static_cast<size_t>(result.shape.back());
      const std::vector<float>& x = values.at(node.operands[0]).data;
      for (size_t row = 0; row < count; row += n) {
        const double most = *std::max_element(x.begin() + static_cast<int64_t>(row),
                                              x.begin() + static_cast<int64_t>(row + n));
        // Of a term: exp of a difference that was rounded. Of the sum: the terms', by their weight.
        const auto term = [&](size_t i) {
          return exp_of(x[i] - most) + kRounding * std::abs(x[i] - most) +
                 std::expm1(operand(0, i).second);
        };
        double sum = sum_error(n);
        for (size_t i = row; i < row + n; ++i) sum += result.data[i] * term(i);
        for (size_t i = row; i < row + n; ++i)
          out[i] = (term(i) + sum + 4 * kRounding) * result.data[i] + 2e-38;
      }
      return out;
    }
    case Op::rotate: {
      // A number is a sum of a block's, added up in as many steps as it has powers of two; factors
      // and the products with them are rounded, too.
      const auto n = static_cast<size_t>(node.integer("block"));
      const bool inverse = node.flag("inverse");
      const double steps = std::log2(static_cast<double>(n)) + 4;
      for (size_t block = 0; block < count; block += n) {
        double size = 0;
        double given = 0;
        for (size_t i = block; i < block + n; ++i) {
          const auto [x, error] = operand(0, i);
          const size_t column = i % static_cast<size_t>(result.shape.back());
          const double sign = node.operands.size() > 1 && !inverse ? operand(1, column).first : 1.0;
          size += std::abs(x * sign);
          given += error * std::abs(sign);
        }
        for (size_t i = block; i < block + n; ++i) {
          const size_t column = i % static_cast<size_t>(result.shape.back());
          const double sign = node.operands.size() > 1 && inverse ? operand(1, column).first : 1.0;
          out[i] = std::abs(sign) / std::sqrt(static_cast<double>(n)) *
                   (1.01 * given + steps * kRounding * (size + given));
        }
      }
      return out;
    }
    case Op::expand:
      for (size_t i = 0; i < count; ++i)
        out[i] = operand(0, i / static_cast<size_t>(result.shape.back())).second;
      return out;
    case Op::slice: {
      const auto error = errors.find(node.operands[0]);
      if (error == errors.end()) return out;
      const int64_t width = result.shape.back();
      const int64_t from = values.at(node.operands[0]).shape.back();
      for (size_t i = 0; i < count; ++i) {
        const auto at = static_cast<int64_t>(i);
        out[i] = error->second[static_cast<size_t>(at / width * from + at % width +
                                                   node.integer("begin", 0))];
      }
      return out;
    }
    default:
      break;
  }
  for (size_t i = 0; i < count; ++i) {
    const double y = std::abs(double{result.data[i]});
    const auto [a, ea] = operand(0, i);
    const auto [b, eb] = node.operands.size() > 1 ? operand(1, i) : std::pair{0.0, 0.0};
    switch (node.op) {
      case Op::add:
        out[i] = ea + eb + 2 * kRounding * y;
        break;
      case Op::mul:
        out[i] = std::abs(a) * eb + std::abs(b) * ea + ea * eb + 2 * kRounding * y;
        break;
      case Op::div: {
        const double least = std::abs(b) - eb;
        out[i] = least > 0 ? (ea + y * eb) / least + 4 * kRounding * y
                           : std::numeric_limits<double>::infinity();
        break;
      }
      case Op::sqrt:
        out[i] = (a > 0 ? std::min(std::sqrt(ea), ea / std::sqrt(a)) : std::sqrt(ea)) +
                 3 * kRounding * y;
        break;
      // The steepest slopes are 1.0999, 1/4 and 1.129. exp() saturates at +-87.
      case Op::silu:
        out[i] = 1.1 * ea + (exp_of(a) + 5 * kRounding) * y + 1e-35;
        break;
      case Op::sigmoid:
        out[i] = 0.25 * ea + (exp_of(a) + 5 * kRounding) * y + 1e-35;
        break;
      case Op::gelu: {
        // The argument of exp has a few roundings; where it is large they count as many times. The
        // reference's 1 + tanh cancels.
        const double argument = 1.6 * (std::abs(a) + 0.045 * std::abs(a * a * a));
        out[i] = 1.13 * ea + (exp_of(argument) + (5 + 4 * argument) * kRounding) * y +
                 std::abs(a) * (1e-14 + 2 * kRounding * std::exp(-std::min(argument, 80.0)));
        break;
      }
      case Op::gelu_erf: {
        // The tail's polynomial is off by 1.5e-7; its exp has an argument that was rounded twice.
        const double size = 0.5 * std::abs(a);
        const double tail = size * (std::erfc(std::abs(a) / std::numbers::sqrt2) + 1.5e-7);
        out[i] = 1.13 * ea + 1.5e-7 * size + (exp_of(a * a / 2) + (9 + a * a) * kRounding) * tail +
                 2 * kRounding * y + 1e-35;
        break;
      }
      case Op::exp:
        // Subnormal results are rounded to nothing, or to a multiple of the least.
        out[i] = y * std::expm1(ea) + (exp_of(a) + kRounding) * y + 2e-38;
        break;
      case Op::tanh:
        // 1 - 2 / (e^2x + 1), or the fraction.
        out[i] = ea + (8 * kRounding + 2e-8) * y + exp_of(2 * a) * (1 - y);
        break;
      case Op::softplus:
        out[i] = ea + (exp_of(a) + 8 * kRounding + 2e-8) * y + 2e-38;
        break;
      case Op::clamp:
        out[i] = ea;
        break;
      case Op::affine:
        out[i] = std::abs(node.number("scale")) * ea + kRounding * y;
        break;
      case Op::relu2:
        out[i] = 2 * std::abs(a) * ea + ea * ea + 2 * kRounding * y;
        break;
      default:
        ADD_FAILURE() << "[" << ir::info(node.op).name << "] has no error bound";
    }
  }
  return out;
}

void Judge::expect_phases_match(const StepValues& got, const Step& step, const StepValues& before,
                                const StepValues& after) {
  const std::string what = fmt::format("{}, {}", kernels_.name(), step.name());
  // Phases that left their results in the form in which the next multiplies them: they are judged
  // by what that one makes of it.
  std::vector<ir::Node> nodes;
  in_chunks_ = kernels_.wave == 32 && step.mode == Mode::prefill;
  for (const ir::Node& phase : model_.module.nodes) {
    if (phase.text("kind", "") == "attention") continue;
    nodes.push_back(phase);
    StepValues inputs;
    for (const ir::Node& node : nodes)
      for (const ValueId id : ir::inputs_of(node))
        if (const auto found = got.find(id); found != got.end()) inputs.insert(*found);
    ir::InterpreterState state;
    state.position = step.position;
    state.states.insert(before.begin(), before.end());
    auto values = ir::interpret_nodes(model_.module, nodes, *model_.weights, inputs, step.count(),
                                      step.logits_rows, state);
    ASSERT_TRUE(values.ok()) << what << ": " << values.status();
    values->insert(before.begin(), before.end());
    Errors errors;
    for (const ir::Node& outer : nodes)
      for (const ir::Node& node : outer.body) {
        errors[node.results[0]] = bound(node, *values, errors);
        if (node.op != Op::short_conv && node.op != Op::delta_rule && node.op != Op::selective_scan)
          continue;
        const ValueId kept = *std::ranges::find_if(
            node.operands, [&](ValueId id) { return model_.module.is_state(id); });
        const auto bounds = node.op == Op::delta_rule ? delta_bound(node, *values, errors)
                            : node.op == Op::selective_scan
                                ? scan_bound(node, *values, errors)
                                : convolution_bound(node, *values, errors);
        expect_within(after.at(kept), state.states.at(kept), bounds.second,
                      fmt::format("{}: {}", what, model_.module.value(kept).name));
      }
    if (phase.text("kind", "") == "delta" && !got.contains(phase.results[0])) continue;
    for (const ValueId id : phase.results) {
      ASSERT_TRUE(got.contains(id)) << what << ": " << phase.label << " left nothing";
      expect_within(got.at(id), values->at(id), errors.at(id),
                    fmt::format("{}: {}", what, phase.label));
    }
    nodes.clear();
  }
  EXPECT_TRUE(nodes.empty()) << what << ": nobody reads what " << nodes.back().label << " left";
}

void expect_within(const ir::Array& got, const ir::Array& want, const std::vector<double>& error,
                   const std::string& what) {
  ASSERT_EQ(got.shape, want.shape) << what;
  ASSERT_EQ(got.data.size(), error.size()) << what;
  const auto width = static_cast<size_t>(got.shape.back());
  size_t wrong = 0;
  std::string first;
  for (size_t i = 0; i < error.size(); ++i) {
    const double off = std::abs(double{got.data[i]} - want.data[i]);
    if (off <= error[i]) continue;  // false for NaN
    if (wrong++ == 0)
      first = fmt::format("row {} column {} is {}, must be {} +- {:.3g}", i / width, i % width,
                          got.data[i], want.data[i], error[i]);
  }
  EXPECT_EQ(wrong, 0U) << what << ": " << wrong << " of " << error.size() << " are off; " << first;
}

bool same_bits(const StepValues& a, const StepValues& b) {
  return std::all_of(a.begin(), a.end(), [&](const auto& value) {
    const auto& x = value.second.data;
    const auto& y = b.at(value.first).data;
    return std::equal(x.begin(), x.end(), y.begin(), y.end());
  });
}

namespace {

// What a phase computes is written, also when it reads it again itself: only what lives from step
// to step is updated.
void expect_only_kept_buffers_are_updated(const Kernels& kernels) {
  for (const LoweredSchedule& schedule : kernels.lowering.schedules)
    for (const LoweredPhase& phase : schedule.phases)
      for (size_t i = 0; i < phase.arguments.size(); ++i) {
        const Buffer::Kind kind = phase.arguments[i].kind;
        if (kind == Buffer::Kind::state || kind == Buffer::Kind::pinned) continue;
        EXPECT_NE(phase.uses[i].access, Access::update)
            << kernels.name() << ": " << phase.name << ", argument " << i;
      }
}

void expect_steps_match(const Kernels& kernels, Judge& judge) {
  Machine machine(kernels, 32);
  Random random(7);
  const std::vector<std::pair<int, Order>> on_host = {
      {2, Order::ascending}, {3, Order::threads}, {7, Order::descending}};
  const std::vector<std::pair<int, Order>> on_gpu = {
      {2, Order::descending}, {kPlannedWorkers, Order::ascending}, {7, Order::descending}};
  const auto check = [&](Step step) {
    const StepValues before = machine.fixed_states();
    const std::vector<uint8_t> kept(machine.fixed().begin(), machine.fixed().end());
    const StepValues alone = machine.run(step);
    judge.expect_phases_match(alone, step, before, machine.fixed_states());
    const std::vector<uint8_t> left(machine.fixed().begin(), machine.fixed().end());
    for (const auto& [workers, order] : kernels.wave == 0 ? on_host : on_gpu) {
      // Threads cost more than small kernels.
      if (order == Order::threads && step.count() != 9) continue;
      step.workers = workers;
      step.order = order;
      std::ranges::copy(kept, machine.fixed().begin());
      const StepValues shared = machine.run(step);
      EXPECT_TRUE(std::ranges::equal(machine.fixed(), left))
          << kernels.name() << ", " << step.name() << ": state";
      if (kernels.device() == Device::host) {
        EXPECT_TRUE(same_bits(shared, alone)) << kernels.name() << ", " << step.name();
      } else if (!same_bits(shared, alone)) {
        judge.expect_phases_match(shared, step, before, machine.fixed_states());
      }
    }
  };
  for (const int64_t position : {0, 5})
    check({.mode = Mode::decode, .tokens = random_tokens(1, random), .position = position});
  // A GPU takes 64 tokens at a time.
  const std::vector<int64_t> counts = kernels.wave == 0
                                          ? std::vector<int64_t>{1, 2, 3, 4, 5, 8, 9, 17}
                                          : std::vector<int64_t>{1, 63, 64, 65};
  for (const int64_t tokens : counts) {
    Step step{.mode = Mode::prefill, .tokens = random_tokens(tokens, random), .position = 3};
    step.logits_rows = 1 + random.below(tokens);
    check(step);
  }
}

}  // namespace

void expect_models_match(const std::vector<TestModel>& models, Device device, Spread spread,
                         int64_t few) {
  const std::vector<TestTarget> targets = runnable_targets(device);
  for (size_t t = 0; t < targets.size(); ++t) {
    SCOPED_TRACE(targets[t].target.name);
    std::vector<Variant> variants;
    for (size_t m = 0; m < models.size(); ++m) {
      if (spread == Spread::one_target && m / 2 % targets.size() != t) continue;
      if (targets.size() == 1 || (m + t) % 2 == 0)
        variants.push_back({&models[m], Activations::a8});
      if (targets.size() == 1 || (m + t) % 2 == 1)
        variants.push_back({&models[m], Activations::a16});
    }
    const Suite suite = compile(variants, targets[t], few);
    ASSERT_FALSE(suite.kernels.empty());
    for (const Kernels& kernels : suite.kernels) {
      Judge judge(kernels);
      expect_only_kept_buffers_are_updated(kernels);
      expect_steps_match(kernels, judge);
      expect_company_does_not_matter(kernels);
      if (::testing::Test::HasFailure()) return;  // one wrong kernel is enough to read about
    }
  }
}

}  // namespace sinter::codegen::test
