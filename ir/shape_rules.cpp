#include "ir/shape_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "ir/ops.h"
#include "ir/shape_operands.h"
#include "ir/verifier.h"

namespace sinter::ir {

namespace {

using Result = absl::StatusOr<TensorType>;

// Product of the constant extents; the caller's types were verified, so that it fits.
int64_t constant_extents(const TensorType& type) {
  int64_t product = 1;
  for (const Dim& dim : type.shape) {
    if (!dim.is_symbol()) product *= dim.value;
  }
  return product;
}

// What is computed along a row needs its length.
const absl::Status& fail_length(ShapeOperands& in, const TensorType& type) {
  return in.fail(fmt::format("the last extent must be a number, it is {}", to_string(type)));
}

}  // namespace

namespace shape_rule {

Result dequantize(ShapeOperands& in) {
  const WeightType* w = in.weight(0, "operand");
  if (w == nullptr) return in.status();
  if (w->shape.size() < 2) {
    return in.fail(fmt::format("the weight must be a matrix, it is {}", to_string(*w)));
  }
  return TensorType{DType::f32, {w->shape.begin(), w->shape.end()}};
}

Result embed(ShapeOperands& in) {
  const TensorType* tokens = in.tokens(0);
  const auto [rows, cols] = in.matrix(1, "table");
  if (!in.ok()) return in.status();
  const std::string by = in.node().text("by");
  if (by != "token" && by != "position")
    return in.fail(fmt::format("by \"{}\" is unknown; \"token\" and \"position\" are", by));
  return TensorType{DType::f32, {tokens->shape[0], cols}};
}

Result matmul(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 2);
  const auto [rows, cols] = in.matrix(1, "weight");
  if (!in.ok()) return in.status();
  if (x->shape[1] != Dim(cols)) {
    return in.fail(fmt::format("the input has {} features, the weight takes {}",
                               to_string(x->shape[1]), cols));
  }
  return TensorType{x->dtype, {x->shape[0], rows}};
}

Result top_k(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "operand", 2);
  if (x == nullptr) return in.status();
  const int64_t k = in.node().integer("k");
  if (x->shape[1].is_symbol() || k < 1 || k > x->shape[1].value) {
    return in.fail(fmt::format("{} of {} columns", k, to_string(x->shape[1])));
  }
  const int64_t cols = x->shape[1].value;
  const int64_t groups = in.node().integer("groups");
  if (groups < 1 || cols % groups != 0)
    return in.fail(fmt::format("{} groups do not divide {} columns", groups, cols));
  const int64_t size = cols / groups;
  const int64_t kept = in.node().integer("groups_kept");
  if (kept < 1 || kept > groups || k > kept * size)
    return in.fail(fmt::format("{} columns of {} of the {} groups, which have {} each", k, kept,
                               groups, size));
  if (const int64_t best = in.node().integer("group_best"); best < 1 || best > size)
    return in.fail(fmt::format("{} columns score a group, which has {}", best, size));
  return TensorType{DType::i32, {x->shape[0], k}};
}

Result gather(ShapeOperands& in) {
  const TensorType* columns = in.indices(1, "columns");
  if (in.is_weight(0)) {
    in.weight_vector(0, "operand");
    if (!in.ok()) return in.status();
    return TensorType{DType::f32, columns->shape};
  }
  const TensorType* x = in.tensor(0, "operand", 2);
  if (!in.ok()) return in.status();
  if (x->shape[0] != columns->shape[0]) {
    return in.fail(fmt::format("columns of {} rows of {}", to_string(*columns), to_string(*x)));
  }
  return TensorType{x->dtype, columns->shape};
}

Result sparsemixer(ShapeOperands& in) {
  const double margin = in.node().number("margin");
  if (!(margin >= 0)) return in.fail(fmt::format("the margin is {}, it must be 0 or more", margin));
  return gather(in);
}

Result gather_rows(ShapeOperands& in) {
  const TensorType* chosen = in.indices(0, "experts");
  const int64_t elements = in.weight_vector(1, "rows");
  if (!in.ok()) return in.status();
  const int64_t width = in.node().integer("width");
  if (width < 1 || elements % width != 0)
    return in.fail(fmt::format("a vector of {} is no rows of {}", elements, width));
  return TensorType{DType::f32, {chosen->shape[0], chosen->shape[1], Dim(width)}};
}

Result weighted_sum(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "operand", 3);
  const TensorType* w = in.tensor(1, "weights", 2);
  if (!in.ok()) return in.status();
  if (x->shape[0] != w->shape[0] || x->shape[1] != w->shape[1]) {
    return in.fail(fmt::format("weights of {} for {}", to_string(*w), to_string(*x)));
  }
  return TensorType{x->dtype, {x->shape[0], x->shape[2]}};
}

Result gather_matmul(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 0);
  const TensorType* chosen = in.indices(1, "experts");
  const std::vector<int64_t> w = in.stacked(2, "weight");
  if (!in.ok()) return in.status();
  const size_t rank = x->shape.size();
  const bool each = rank == 3 && x->shape[1] == chosen->shape[1];
  if (x->shape[0] != chosen->shape[0] || (rank != 2 && !each)) {
    return in.fail(fmt::format("an input of {} does not go with experts of {}", to_string(*x),
                               to_string(*chosen)));
  }
  if (x->shape.back() != Dim(w[2])) {
    return in.fail(fmt::format("the input has {} features, the weight takes {}",
                               to_string(x->shape.back()), w[2]));
  }
  return TensorType{x->dtype, {chosen->shape[0], chosen->shape[1], w[1]}};
}

Result binary(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "first operand", 0);
  if (x == nullptr) return in.status();
  if (in.is_weight(1)) {
    const int64_t n = in.weight_vector(1, "second operand");
    if (!in.ok()) return in.status();
    if (x->shape.back() != Dim(n)) {
      return in.fail(fmt::format("the first operand has {} features, the weight vector {}",
                                 to_string(x->shape.back()), n));
    }
    return *x;
  }
  const TensorType* y = in.tensor(1, "second operand", 0);
  if (y == nullptr) return in.status();
  if (*x != *y) {
    return in.fail(fmt::format("the operands differ: {} and {}", to_string(*x), to_string(*y)));
  }
  return *x;
}

Result expand(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "operand", 0);
  if (x == nullptr) return in.status();
  const int64_t width = in.node().integer("width");
  if (x->shape.size() < 2 || x->shape.back() != Dim(1))
    return in.fail(
        fmt::format("the operand is {}, it must have rows of one feature", to_string(*x)));
  if (width < 1 || width > 1 << 30)
    return in.fail(fmt::format("the width is {}, it must be 1 to {}", width, 1 << 30));
  TensorType out = *x;
  out.shape.back() = Dim(width);
  return out;
}

Result unary(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "operand", 0);
  if (x == nullptr) return in.status();
  return *x;
}

Result clamp(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "operand", 0);
  if (x == nullptr) return in.status();
  const double min = in.node().number("min");
  const double max = in.node().number("max");
  if (!(min <= max)) return in.fail(fmt::format("min is {}, above max, {}", min, max));
  return *x;
}

Result softmax(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "operand", 0);
  if (x == nullptr) return in.status();
  if (x->shape.back().is_symbol()) return fail_length(in, *x);
  return *x;
}

Result rotate(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 0);
  if (x == nullptr) return in.status();
  if (x->shape.back().is_symbol()) return fail_length(in, *x);
  const int64_t features = x->shape.back().value;
  if (in.count() > 1) {
    const int64_t n = in.weight_vector(1, "signs");
    if (!in.ok()) return in.status();
    if (features != n)
      return in.fail(fmt::format("the input has {} features, there are {} signs", features, n));
  }
  const int64_t block = in.node().integer("block");
  if (block < 2 || (block & (block - 1)) != 0)
    return in.fail(fmt::format("the block is {}, it must be a power of two from 2 on", block));
  if (features % block != 0)
    return in.fail(fmt::format("blocks of {} do not divide {} features", block, features));
  return *x;
}

// A tensor, and vectors as long as its rows: the weight, and the bias.
Result norm(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 0);
  if (x == nullptr) return in.status();
  if (x->shape.back().is_symbol()) return fail_length(in, *x);
  for (size_t i = 1; i < in.count(); ++i) {
    const std::string_view what = i == 1 ? "weight" : "bias";
    const int64_t n = in.weight_vector(i, what);
    if (!in.ok()) return in.status();
    if (x->shape.back() != Dim(n)) {
      return in.fail(
          fmt::format("the input has {} features, the {} {}", to_string(x->shape.back()), what, n));
    }
  }
  const double eps = in.node().number("eps");
  if (!(eps >= 0)) return in.fail(fmt::format("eps is {}, it must not be negative", eps));
  return *x;
}

Result reshape(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 0);
  if (x == nullptr) return in.status();
  const TensorType* wanted = in.wanted();
  if (wanted == nullptr) return in.fail("the result type must be given");
  if (const absl::Status s = verify_type(*wanted); !s.ok()) {
    return in.fail(std::string(s.message()));
  }
  for (const TensorType* type : {x, wanted}) {
    for (size_t i = 1; i < type->shape.size(); ++i) {
      if (type->shape[i].is_symbol()) {
        return in.fail(
            fmt::format("only the first extent may be a symbol, found {}", to_string(*type)));
      }
    }
  }
  const bool symbolic = x->shape[0].is_symbol() || wanted->shape[0].is_symbol();
  if (x->dtype != wanted->dtype || (symbolic && x->shape[0] != wanted->shape[0]) ||
      constant_extents(*x) != constant_extents(*wanted)) {
    return in.fail(
        fmt::format("{} does not hold the elements of {}", to_string(*wanted), to_string(*x)));
  }
  return *wanted;
}

Result slice(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 0);
  if (x == nullptr) return in.status();
  const int64_t begin = in.node().integer("begin");
  const int64_t end = in.node().integer("end");
  const Dim last = x->shape.back();
  if (last.is_symbol() || begin < 0 || begin >= end || end > last.value) {
    return in.fail(
        fmt::format("{}..{} is no range of the {} features", begin, end, to_string(last)));
  }
  TensorType result = *x;
  result.shape.back() = end - begin;
  return result;
}

Result last_rows(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 2);
  if (x == nullptr) return in.status();
  if (x->shape[0] != Dim::of('T')) return in.fail_rows(*x);
  TensorType result = *x;
  result.shape[0] = Dim::of('L');
  return result;
}

Result rope_table(ShapeOperands& in) {
  const int64_t n = in.weight_vector(0, "inv_freq");
  const TensorType* tokens = in.tokens(1);
  if (!in.ok() || tokens == nullptr) return in.status();
  const int64_t period = in.node().integer("log_period");
  const int64_t offset = in.node().integer("log_offset");
  if (period < 1 || period > 1 << 30 || offset < 0 || offset > 1 << 30) {
    return in.fail(fmt::format("log_period is {} and log_offset {}, they must be 1 and 0 to {}",
                               period, offset, 1 << 30));
  }
  return TensorType{DType::f32, {tokens->shape[0], 2 * n}};
}

Result rope(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 3);
  const TensorType* table = in.tensor(1, "table", 2);
  if (!in.ok()) return in.status();
  if (x->shape[0] != table->shape[0]) {
    return in.fail(fmt::format("the input has {} rows, the table {}", to_string(x->shape[0]),
                               to_string(table->shape[0])));
  }
  const Dim head_dim = x->shape[2];
  const Dim rotated = table->shape[1];
  if (head_dim.is_symbol() || rotated.is_symbol() || rotated.value % 2 != 0 ||
      rotated.value > head_dim.value) {
    return in.fail(
        fmt::format("the table rotates {} features of heads with {}; it must be an even number, "
                    "no more than a head has",
                    to_string(rotated), to_string(head_dim)));
  }
  if (const int64_t begin = in.node().integer("begin");
      begin < 0 || begin > head_dim.value - rotated.value) {
    return in.fail(fmt::format("{} features from {} on are not in heads with {}", rotated.value,
                               begin, head_dim.value));
  }
  const std::string style = in.node().text("style");
  if (style != "half" && style != "interleaved") {
    return in.fail(fmt::format("style \"{}\" is unknown; \"half\" and \"interleaved\" are", style));
  }
  return *x;
}

Result concat(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "first operand", 3);
  const TensorType* y = in.tensor(1, "second operand", 3);
  if (!in.ok()) return in.status();
  if (x->shape[0] != y->shape[0] || (y->shape[1] != x->shape[1] && y->shape[1] != Dim(1)) ||
      x->shape[2].is_symbol() || y->shape[2].is_symbol()) {
    return in.fail(
        fmt::format("heads of {} do not go behind those of {}", to_string(*y), to_string(*x)));
  }
  return TensorType{x->dtype, {x->shape[0], x->shape[1], x->shape[2].value + y->shape[2].value}};
}

Result kv_append(ShapeOperands& in) {
  const StateType* cache = in.state_by_position(0, "cache");
  if (cache == nullptr) return in.status();
  const TensorType* x = in.tensor(1, "input", 3);
  if (x == nullptr) return in.status();
  if (x->shape[0] != Dim::of('T')) return in.fail_rows(*x);
  if (x->shape[1] != cache->numbers.shape[0] || x->shape[2] != cache->numbers.shape[2]) {
    return in.fail(fmt::format("the input has {} heads of {}, the cache {} of {}",
                               to_string(x->shape[1]), to_string(x->shape[2]),
                               to_string(cache->numbers.shape[0]),
                               to_string(cache->numbers.shape[2])));
  }
  return TensorType{};  // no result
}

Result attention(ShapeOperands& in) {
  const TensorType* q = in.tensor(0, "query", 3);
  if (q == nullptr) return in.status();
  if (q->shape[0] != Dim::of('T')) return in.fail_rows(*q);
  const StateType* k = in.state_by_position(1, "key cache");
  if (k == nullptr) return in.status();
  const StateType* v = in.state_by_position(2, "value cache");
  if (v == nullptr) return in.status();
  int64_t reach = 0;  // positions that a row sees, at most; 0: all
  for (const char* limit : {"window", "chunk"}) {
    const int64_t positions = in.node().integer(limit);
    if (positions < 0 || positions > 1 << 30) {
      return in.fail(fmt::format("the {} has {} positions, it must have 1 to {}, or 0 for none",
                                 limit, positions, 1 << 30));
    }
    if (positions > 0) reach = reach == 0 ? positions : std::min(reach, positions);
  }
  // Kernels divide by it in float32.
  const double softcap = in.node().number("softcap");
  if (softcap != 0 && !(softcap >= 1e-3 && softcap <= 1e6))
    return in.fail(
        fmt::format("softcap is {}, it must be 0.001 to 1000000, or 0 for none", softcap));
  const TensorType& keys = k->numbers;
  const TensorType& values = v->numbers;
  if (k->kind != v->kind || keys.dtype != values.dtype || keys.shape[0] != values.shape[0] ||
      keys.shape[1] != values.shape[1]) {
    return in.fail(fmt::format(
        "the key cache is {}, the value cache {}; they may differ in the width of a head alone",
        to_string(*k), to_string(*v)));
  }
  if (k->kind == StateKind::ring && (reach == 0 || reach > keys.shape[1].value)) {
    return in.fail(fmt::format("the key cache is {} and forgets what {} needs", to_string(*k),
                               reach == 0 ? "attention without a window"
                                          : fmt::format("a window of {} positions", reach)));
  }
  const Dim heads = q->shape[1];
  const Dim head_dim = q->shape[2];
  if (head_dim != keys.shape[2] || heads.is_symbol()) {
    return in.fail(fmt::format("the query has {} heads of {} features, the key cache heads of {}",
                               to_string(heads), to_string(head_dim), to_string(keys.shape[2])));
  }
  if (keys.shape[0].value <= 0 || heads.value % keys.shape[0].value != 0) {
    return in.fail(fmt::format("{} query heads do not share {} KV heads evenly", heads.value,
                               keys.shape[0].value));
  }
  if (in.count() > 3) {
    const int64_t sinks = in.weight_vector(3, "sinks");
    if (!in.ok()) return in.status();
    if (sinks != heads.value)
      return in.fail(fmt::format("there are {} sinks for {} query heads", sinks, heads.value));
  }
  return TensorType{q->dtype, {q->shape[0], heads.value * values.shape[2].value}};
}

Result short_conv(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 2);
  if (x == nullptr) return in.status();
  if (x->shape[0] != Dim::of('T')) return in.fail_rows(*x);
  const WeightType* w = in.weight(1, "taps");
  const StateType* before = in.state(2, "inputs before", StateKind::fixed);
  if (!in.ok()) return in.status();
  if (w->shape.size() != 2 || !w->format.is_dense()) {
    return in.fail(fmt::format("the taps must be a dense matrix, they are {}", to_string(*w)));
  }
  const int64_t channels = w->shape[0];
  const int64_t taps = w->shape[1];
  if (x->shape[1] != Dim(channels)) {
    return in.fail(fmt::format("the input has {} channels, the taps are of {}",
                               to_string(x->shape[1]), channels));
  }
  if (taps < 2) return in.fail("one tap is no convolution; multiply by a vector");
  if (before->numbers.shape != std::vector<Dim>{taps - 1, channels}) {
    return in.fail(fmt::format("{} taps of {} channels need a state of {}x{}, it has {}", taps,
                               channels, taps - 1, channels, to_string(*before)));
  }
  return *x;
}

Result delta_rule(ShapeOperands& in) {
  const TensorType* q = in.tensor(0, "query", 3);
  const TensorType* k = in.tensor(1, "key", 3);
  const TensorType* v = in.tensor(2, "value", 3);
  const TensorType* log_decay = in.tensor(3, "decay", 0);
  const TensorType* beta = in.tensor(4, "beta", 2);
  const StateType* state = in.state(5, "state", StateKind::fixed);
  if (!in.ok()) return in.status();
  if (v->shape[0] != Dim::of('T')) return in.fail_rows(*v);
  if (*q != *k)
    return in.fail(fmt::format("the query is {}, the key {}", to_string(*q), to_string(*k)));
  const Dim heads = v->shape[1];
  if (q->shape[0] != v->shape[0] || q->shape[1].value <= 0 || heads.value <= 0 ||
      q->shape[2].is_symbol() || v->shape[2].is_symbol() || heads.value % q->shape[1].value != 0) {
    return in.fail(
        fmt::format("heads of {} do not share those of {} evenly", to_string(*v), to_string(*k)));
  }
  const std::string order = in.node().text("heads");
  if (order != "grouped" && order != "tiled")
    return in.fail(fmt::format("heads \"{}\" are unknown; \"grouped\" and \"tiled\" are", order));
  const std::vector<Dim> of_heads = {v->shape[0], heads};
  const std::vector<Dim> of_features = {v->shape[0], heads, k->shape[2]};
  if (beta->shape != of_heads) {
    return in.fail(fmt::format("a beta of {} for values of {}", to_string(*beta), to_string(*v)));
  }
  if (log_decay->shape != of_heads && log_decay->shape != of_features) {
    return in.fail(fmt::format("a decay of {} for values of {} and keys of {}",
                               to_string(*log_decay), to_string(*v), to_string(*k)));
  }
  if (state->numbers.shape != std::vector<Dim>{heads, v->shape[2], k->shape[2]}) {
    return in.fail(fmt::format("values of {} and keys of {} need a state of {}x{}x{}, it has {}",
                               to_string(*v), to_string(*k), to_string(heads),
                               to_string(v->shape[2]), to_string(k->shape[2]), to_string(*state)));
  }
  return *v;
}

Result selective_scan(ShapeOperands& in) {
  const TensorType* x = in.tensor(0, "input", 3);
  const int64_t rates = in.weight_vector(1, "a");
  const TensorType* b = in.tensor(2, "b", 3);
  const TensorType* c = in.tensor(3, "c", 3);
  const StateType* state = in.state(4, "state", StateKind::fixed);
  const TensorType* dt = in.count() > 5 ? in.tensor(5, "dt", 2) : nullptr;
  const int64_t skips = in.count() > 6 ? in.weight_vector(6, "d") : 0;
  if (!in.ok()) return in.status();
  if (x->shape[0] != Dim::of('T')) return in.fail_rows(*x);
  if (*b != *c) return in.fail(fmt::format("b is {}, c {}", to_string(*b), to_string(*c)));
  const Dim heads = x->shape[1];
  const Dim columns = b->shape[2];
  if (b->shape[0] != x->shape[0] || heads.value <= 0 || b->shape[1].value <= 0 ||
      x->shape[2].is_symbol() || columns.value <= 0 || heads.value % b->shape[1].value != 0) {
    return in.fail(
        fmt::format("heads of {} do not share groups of {} evenly", to_string(*x), to_string(*b)));
  }
  if (rates != heads.value && rates != heads.value * columns.value) {
    return in.fail(
        fmt::format("{} numbers in a, expected one for each of {} heads, or for each of "
                    "their {} columns",
                    rates, heads.value, columns.value));
  }
  if (dt != nullptr && dt->shape != std::vector<Dim>{x->shape[0], heads}) {
    return in.fail(fmt::format("a dt of {} for an input of {}", to_string(*dt), to_string(*x)));
  }
  if (in.count() > 6 && skips != heads.value) {
    return in.fail(fmt::format("{} numbers in d, there are {} heads", skips, heads.value));
  }
  if (state->numbers.shape != std::vector<Dim>{heads, x->shape[2], columns}) {
    return in.fail(fmt::format("an input of {} and b of {} need a state of {}x{}x{}, it has {}",
                               to_string(*x), to_string(*b), to_string(heads),
                               to_string(x->shape[2]), to_string(columns), to_string(*state)));
  }
  return *x;
}

Result fused(ShapeOperands& in) {
  return in.fail("its result types are those of the values that leave its body");
}

}  // namespace shape_rule

absl::StatusOr<TensorType> result_type(const Module& module, const Node& node,
                                       const TensorType* wanted) {
  if (const absl::Status s = verify_attributes(node); !s.ok()) return s;
  ShapeOperands in(module, node, wanted);
  return info(node.op).shape_rule(in);
}

}  // namespace sinter::ir
