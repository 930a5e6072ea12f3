// Judges attention: what its phases leave in caches, and what they make of that.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ir/ops.h"
#include "ir/state_format.h"
#include "ir/weight_rows.h"
#include "tests/codegen/error_bounds.h"

namespace sinter::codegen::test {

// The first `positions` rows of a cache, by the comments at the top of codegen/device/kv_cache.h
// and codegen/device/*/attention.h. Of a host the keys of 16 positions lie side by side.
inline ir::Array read_cache(const Machine& machine, ir::ValueId id, bool side_by_side,
                            const ir::StateFormat& format, int64_t heads, int64_t positions,
                            int64_t head_dim) {
  const int64_t padded = (head_dim + 15) / 16 * 16;
  const int64_t group = format.group == 0 ? padded : format.group;
  const int64_t groups = (padded + group - 1) / group;
  const int64_t bits = format.bits, all_bytes = heads * page_positions * padded * bits / 8;
  ir::Array out{{heads, positions, head_dim}, {}};
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t p = 0; p < positions; ++p) {
      const std::span<const uint8_t> page = machine.page(id, 0, p);
      const int64_t row = h * page_positions + p % page_positions;
      // Of things of which a row has `count`, number i.
      const auto place = [&](int64_t i, int64_t count) {
        return side_by_side ? (row / 16 * count + i) * 16 + row % 16 : row * count + i;
      };
      const auto element = [&](int64_t offset, int64_t at, ir::DType dtype) {
        return ir::read_element(dtype, page.data() + offset, at);
      };
      for (int64_t i = 0; i < head_dim; ++i) {
        if (format.group == 0) {
          out.data.push_back(element(0, place(i, padded), format.dtype));
          continue;
        }
        const int64_t in_byte = 8 / bits;
        const int byte =
            page[static_cast<size_t>(place(i / in_byte, padded / in_byte))] >> (i % in_byte * bits);
        const int zero = 1 << (bits - 1);
        const float scale = element(all_bytes, place(i / group, groups), ir::DType::f16);
        out.data.push_back(scale * static_cast<float>(zero - byte % (2 * zero)) /
                           static_cast<float>(zero));
      }
    }
  return out;
}

// Judges the attention phases of one sequence step by step: the caches against what the reference
// appends, then the output against the reference on the very caches that the kernel wrote, so that
// float16 does not blur it.
class AttentionJudge {
 public:
  explicit AttentionJudge(const Kernels& kernels) : kernels_(kernels) {}

  void expect_match(const Machine& machine, const StepValues& got, const Step& step) {
    const std::string what = fmt::format("{}, {}", kernels_.name(), step.name());
    for (const ir::Node& phase : kernels_.model->module.nodes)
      if (phase.text("kind", "") == "attention") expect_match(machine, got, step, phase, what);
  }
  // The step is over: what it appended stays.
  void advance(const Step& step) { appended_.position = step.position + step.count(); }

 private:
  void expect_match(const Machine& machine, const StepValues& got, const Step& step,
                    const ir::Node& phase, const std::string& what) {
    const ir::Module& module = kernels_.model->module;
    StepValues inputs;
    for (const ir::ValueId id : ir::inputs_of(phase))
      if (const auto found = got.find(id); found != got.end()) inputs.insert(*found);
    row_norm_ = 0;
    for (const ir::Node& node : phase.body)
      if (node.op == ir::Op::rms_norm && module.tensor(node.results[0]).shape.size() == 2)
        row_norm_ = std::max(row_norm_,
                             rms_norm_error(module.tensor(node.results[0]).shape[1].value, true));
    for (const ir::Node& node : phase.body) {
      if (node.op != ir::Op::kv_append) continue;
      const ir::Node* made = ir::find_definition(phase.body, node.operands[1]);
      for (; made != nullptr; made = ir::find_definition(phase.body, made->operands[0]))
        if (!ir::is_view(made->op)) transformed_.insert(node.operands[0]);
    }
    std::vector<ir::Node> before;
    for (const ir::Node& node : phase.body)
      if (node.op != ir::Op::attention) before.push_back(node);
    const ir::Node& attention = phase.body.back();
    ASSERT_EQ(attention.op, ir::Op::attention);
    auto values = ir::interpret_nodes(module, before, *kernels_.model->weights, inputs,
                                      step.count(), 1, appended_);
    ASSERT_TRUE(values.ok()) << what << ": " << values.status();

    ir::InterpreterState state;
    state.position = step.position;
    for (const ir::ValueId id : {attention.operands[1], attention.operands[2]}) {
      const bool keys = id == attention.operands[1];
      const ir::Array& want = appended_.states.at(id);
      const ir::StateFormat& format = *ir::find_state_format(module.tensor(id).dtype);
      ir::Array cache = read_cache(machine, id, keys && kernels_.device() == Device::host, format,
                                   want.shape[0], want.shape[1], want.shape[2]);
      forget(want, kernels_.lowering.states.at(id), cache);
      expect_within(cache, want, cache_bound(want, format, transformed_.contains(id)),
                    what + (keys ? ": keys" : ": values"));
      state.states[id] = cache;
    }
    const ir::Array& q = values->at(attention.operands[0]);
    auto result = ir::interpret_nodes(module, {attention}, *kernels_.model->weights,
                                      {{attention.operands[0], q}}, step.count(), 1, state);
    ASSERT_TRUE(result.ok()) << what << ": " << result.status();
    const ir::ValueId out = attention.results[0];
    expect_within(got.at(out), result->at(out),
                  output_bound(q, state.states.at(attention.operands[1]),
                               state.states.at(attention.operands[2]), sinks_of(attention),
                               attention, step.position, lost_of_weights()),
                  what);
    if (module.state(attention.operands[1]).kind == ir::StateKind::paged)
      expect_nothing_else_written(machine, step, attention);
  }

  // Where a ring has later positions by now are those that were appended: nothing is known of what
  // became of them, and nobody reads them.
  static void forget(const ir::Array& appended, const runtime::PlanState& state, ir::Array& cache) {
    if (state.kind != runtime::PlanState::Kind::ring) return;
    const int64_t length = appended.shape[1];
    const int64_t gone = std::max<int64_t>(0, length - static_cast<int64_t>(state.positions));
    for (int64_t h = 0; h < appended.shape[0]; ++h) {
      const int64_t begin = h * length * appended.shape[2];
      std::copy_n(appended.data.begin() + begin, gone * appended.shape[2],
                  cache.data.begin() + begin);
    }
  }

  // Error of a number after per-head norm and rotation, where `largest` is the largest of its head.
  // A rotation keeps the length of a pair, so what it adds up is at most twice as large.
  double transform_error(int64_t head_dim, double largest) const {
    return 2 * (std::max(rms_norm_error(head_dim, false), row_norm_) + 6 * kRounding) * largest;
  }

  // What the reference caches of the same number may lie one step of the format away, if it is not
  // quite the same number. What no phase transformed is.
  std::vector<double> cache_bound(const ir::Array& want, const ir::StateFormat& format,
                                  bool transformed) const {
    const auto head_dim = want.shape[2];
    std::vector<double> out;
    for (int64_t i = 0; i < std::ssize(want.data); ++i) {
      const auto largest = [&](int64_t begin, int64_t end) {
        double most = 0;
        for (int64_t k = begin; k < std::min(end, head_dim); ++k)
          most = std::max(
              most, std::abs(double{want.data[static_cast<size_t>(i / head_dim * head_dim + k)]}));
        return most;
      };
      if (!transformed) {
        out.push_back(0);
        continue;
      }
      const double error = 1.01 * transform_error(head_dim, largest(0, head_dim));
      double step = 0;
      if (format.group > 0) {
        // The lowest code stands for the largest number, or for 2^-14; the scale has 11 bits, by
        // which all codes go wrong.
        const int64_t begin = i % head_dim / format.group * format.group;
        const double lowest = std::ldexp(1.0, format.bits - 1);
        step = std::max(largest(begin, begin + format.group) + error, 0x1p-14) *
               (1 / lowest + 0x1p-10);
      } else if (format.dtype == ir::DType::f16) {
        // float16 keeps 11 bits, and steps of 2^-24 below 2^-14.
        step = std::max(0x1p-10 * std::abs(double{want.data[static_cast<size_t>(i)]}), 0x1p-24);
      }
      out.push_back(error + step);
    }
    return out;
  }

  // What matrix units lose of a weight, which is two numbers of float16:
  // gpu/attention_many_matrix.h.
  double lost_of_weights() const { return kernels_.device() == Device::host ? 0 : 0x1p-38; }

  // Of the query heads; none where there are none.
  std::vector<float> sinks_of(const ir::Node& attention) const {
    if (attention.operands.size() < 4) return {};
    const auto rows = ir::WeightRows::open(kernels_.model->module, attention.operands[3],
                                           *kernels_.model->weights);
    EXPECT_TRUE(rows.ok()) << rows.status();
    std::vector<float> sinks(static_cast<size_t>(rows->cols()));
    rows->row(0, sinks.data());
    return sinks;
  }

  // Of softmax(q k^T scale) v in float32, q having been transformed.
  std::vector<double> output_bound(const ir::Array& q, const ir::Array& k, const ir::Array& v,
                                   const std::vector<float>& sinks, const ir::Node& attention,
                                   int64_t position, double lost) const {
    const double scale = attention.number("scale");
    const double softcap = attention.number("softcap");
    const int64_t window = attention.integer("window"), chunk = attention.integer("chunk");
    const int64_t heads = q.shape[1], head_dim = q.shape[2], rows = k.shape[1];
    std::vector<double> out;
    for (int64_t t = 0; t < q.shape[0]; ++t)
      for (int64_t h = 0; h < heads; ++h) {
        const float* query = q.data.data() + (t * heads + h) * head_dim;
        const int64_t kv = h / (heads / k.shape[0]);
        const int64_t end = position + t + 1;
        int64_t begin = window == 0 ? 0 : std::max<int64_t>(0, end - window);
        if (chunk > 0) begin = std::max(begin, (end - 1) / chunk * chunk);
        double largest = 0;
        for (int64_t i = 0; i < head_dim; ++i)
          largest = std::max(largest, std::abs(double{query[i]}));
        std::vector<double> scores;
        double top = -1e30, widest = 0, worst = 0;
        for (int64_t r = begin; r < end; ++r) {
          const float* key = k.data.data() + (kv * rows + r) * head_dim;
          double score = 0, size = 0, error = 0;
          for (int64_t i = 0; i < head_dim; ++i) {
            score += scale * query[i] * key[i];
            size += scale * std::abs(double{query[i]} * key[i]);
            error += scale * transform_error(head_dim, largest) * std::abs(double{key[i]});
          }
          error += static_cast<double>(head_dim + 2) * kRounding * size;
          if (softcap > 0) {
            // tanh flattens what went wrong before. It is 1 - 2 / (e^2x + 1): the exponential's
            // error by the slope, and roundings of numbers up to 2.
            const double y = std::tanh(score / softcap);
            error +=
                softcap * (exp_error(kernels_.device(), 2 * score / softcap) * (1 - y * y) / 2 +
                           12 * kRounding);
            score = softcap * y;
          }
          scores.push_back(score);
          top = std::max(top, score);
          widest = std::max(widest, std::abs(score));
          worst = std::max(worst, error);
        }
        if (!sinks.empty()) {
          top = std::max(top, double{sinks[static_cast<size_t>(h)]});
          widest = std::max(widest, std::abs(double{sinks[static_cast<size_t>(h)]}));
        }
        // Scores relative to the top, twice: in a block and when blocks or splits are joined.
        const double relative = 2 * worst + 8 * kRounding * widest +
                                3 * exp_error(kernels_.device(), 2 * widest) +
                                static_cast<double>(2 * (end - begin) + 16) * kRounding;
        double total = sinks.empty() ? 0 : std::exp(sinks[static_cast<size_t>(h)] - top);
        std::vector<double> size(static_cast<size_t>(v.shape[2]));
        std::vector<double> without_weights(size.size());
        for (int64_t r = begin; r < end; ++r) {
          const double p = std::exp(scores[static_cast<size_t>(r - begin)] - top);
          total += p;
          const float* value = v.data.data() + (kv * rows + r) * v.shape[2];
          for (size_t i = 0; i < size.size(); ++i) {
            const double magnitude = std::abs(double{value[i]});
            size[i] += p * magnitude;
            without_weights[i] += magnitude;
          }
        }
        for (size_t i = 0; i < size.size(); ++i)
          out.push_back(1.01 * (relative * size[i] + lost * without_weights[i]) / total + 1e-30);
      }
    return out;
  }

  // Positions of later steps are as they were given to the kernels.
  static void expect_nothing_else_written(const Machine& machine, const Step& step,
                                          const ir::Node& attention) {
    size_t untouched = 0, expected = 0;
    for (const size_t i : {1, 2})
      for (int64_t p = 0; p < machine.capacity(); p += page_positions) {
        const auto bytes = machine.page(attention.operands[i], 0, p);
        untouched += static_cast<size_t>(std::count(bytes.begin(), bytes.end(), 0xff));
        const int64_t left = std::clamp<int64_t>(p + page_positions - step.position - step.count(),
                                                 0, page_positions);
        expected += bytes.size() / page_positions * static_cast<size_t>(left);
      }
    EXPECT_GE(untouched, expected) << step.name();
  }

  const Kernels& kernels_;
  double row_norm_ = 0;                // relative error of norms over whole rows
  std::set<ir::ValueId> transformed_;  // caches of numbers that a phase computed
  ir::InterpreterState appended_;      // caches as the reference makes them
};

}  // namespace sinter::codegen::test
