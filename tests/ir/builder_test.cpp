#include "ir/builder.h"

#include <gtest/gtest.h>

#include "tests/ir/map_source.h"

namespace sinter::ir {
namespace {

const Dim T = Dim::of('T');

// One value of each kind for the shape rules to be tried on.
class ShapeRules : public testing::Test {
 protected:
  Builder b{"m"};
  ValueId tokens = b.param("tokens", {DType::i32, {T}});
  ValueId x = b.param("x", {DType::f32, {T, 8}});
  ValueId half = b.param("half", {DType::f16, {T, 8}});
  ValueId heads = b.param("heads", {DType::f32, {T, 4, 2}});
  ValueId table = b.param("table", {DType::f32, {T, 2}});
  ValueId matrix =
      b.weight("matrix", {{6, 8}, {CodeMap::affine, 4, 8, 0, DType::f16}}, {{"a"}, {}});
  ValueId packed_vector =
      b.weight("packed_vector", {{8}, {CodeMap::affine, 4, 8, 0, DType::f16}}, {{"b"}, {}});
  ValueId vector = b.weight("vector", {{8}, {}}, {{"c"}, {}});
  ValueId k = b.state("k", {StateKind::paged, {DType::f16, {2, Dim::of('C'), 2}}});
  ValueId v = b.state("v", {StateKind::paged, {DType::f16, {2, Dim::of('C'), 2}}});
  ValueId wide = b.state("wide", {StateKind::paged, {DType::f16, {3, Dim::of('C'), 2}}});

  std::string type(ValueId id) { return id < 0 ? "none" : to_string(b.module().tensor(id)); }

  std::string error(Op op, std::vector<ValueId> operands, Attributes attributes = {}) {
    Builder copy = b;
    EXPECT_EQ(copy.add(op, std::move(operands), std::move(attributes)), -1);
    return message(copy.finish({x}).status());
  }
  std::string reshape_error(ValueId input, std::vector<Dim> shape) {
    Builder copy = b;
    EXPECT_EQ(copy.reshape(input, std::move(shape)), -1);
    return message(copy.finish({x}).status());
  }
};

TEST_F(ShapeRules, GiveResultTypes) {
  EXPECT_EQ(type(b.add(Op::embed, {tokens, matrix})), "tensor<Tx8xf32>");
  EXPECT_EQ(type(b.add(Op::dequantize, {matrix})), "tensor<6x8xf32>");
  EXPECT_EQ(type(b.add(Op::matmul, {x, matrix})), "tensor<Tx6xf32>");
  EXPECT_EQ(type(b.add(Op::matmul, {half, matrix})), "tensor<Tx6xf16>");
  EXPECT_EQ(type(b.add(Op::add, {x, vector})), "tensor<Tx8xf32>");
  EXPECT_EQ(type(b.add(Op::mul, {heads, heads})), "tensor<Tx4x2xf32>");
  EXPECT_EQ(type(b.add(Op::rms_norm, {x, vector}, {{"eps", 1e-6}})), "tensor<Tx8xf32>");
  EXPECT_EQ(type(b.add(Op::rms_norm, {heads}, {{"eps", 1e-6}})), "tensor<Tx4x2xf32>");
  EXPECT_EQ(type(b.reshape(x, {T, 2, 4})), "tensor<Tx2x4xf32>");
  EXPECT_EQ(type(b.add(Op::slice, {x}, {{"begin", int64_t{2}}, {"end", int64_t{8}}})),
            "tensor<Tx6xf32>");
  EXPECT_EQ(type(b.add(Op::last_rows, {x})), "tensor<Lx8xf32>");
  EXPECT_EQ(type(b.add(Op::rope_table, {vector, tokens})), "tensor<Tx16xf32>");
  EXPECT_EQ(type(b.add(Op::rope, {heads, table})), "tensor<Tx4x2xf32>");
  EXPECT_EQ(type(b.add(Op::tanh, {heads})), "tensor<Tx4x2xf32>");
  EXPECT_EQ(type(b.add(Op::clamp, {half}, {{"min", -1.0}})), "tensor<Tx8xf16>");
  EXPECT_EQ(type(b.add(Op::affine, {half}, {{"scale", -1.0}})), "tensor<Tx8xf16>");
  EXPECT_EQ(type(b.add(Op::layer_norm, {x, vector}, {{"eps", 1e-5}})), "tensor<Tx8xf32>");
  EXPECT_EQ(type(b.add(Op::layer_norm, {x, vector, vector}, {{"eps", 1e-5}})), "tensor<Tx8xf32>");
  EXPECT_EQ(type(b.add(Op::l2_norm, {heads}, {{"eps", 1e-6}})), "tensor<Tx4x2xf32>");
  EXPECT_EQ(type(b.add(Op::softmax, {x})), "tensor<Tx8xf32>");
  EXPECT_EQ(type(b.add(Op::rotate, {x, vector}, {{"block", int64_t{4}}, {"inverse", true}})),
            "tensor<Tx8xf32>");
  EXPECT_EQ(type(b.add(Op::rotate, {heads}, {{"block", int64_t{2}}})), "tensor<Tx4x2xf32>");
  EXPECT_EQ(type(b.add(Op::attention, {heads, k, v}, {{"scale", 1.0}})), "tensor<Tx8xf32>");
  EXPECT_EQ(type(b.add(Op::attention, {heads, k, v, b.weight("sinks", {{4}, {}}, {{"d"}, {}})},
                       {{"scale", 1.0}})),
            "tensor<Tx8xf32>");
  const ValueId values_of_5 =
      b.state("values_of_5", {StateKind::paged, {DType::f16, {2, Dim::of('C'), 5}}});
  EXPECT_EQ(type(b.add(Op::attention, {heads, k, values_of_5}, {{"scale", 1.0}})),
            "tensor<Tx20xf32>");
  EXPECT_TRUE(b.finish({x}).ok());
}

TEST_F(ShapeRules, KvAppendHasNoResult) {
  const ValueId pair =
      b.reshape(b.add(Op::slice, {x}, {{"begin", int64_t{0}}, {"end", int64_t{4}}}), {T, 2, 2});
  EXPECT_EQ(b.add(Op::kv_append, {k, pair}), -1);
  EXPECT_TRUE(b.finish({x}).ok());
  EXPECT_EQ(error(Op::kv_append, {k, heads}),
            "[kv_append] the input has 4 heads of 2, the cache 2 of 2");
  EXPECT_EQ(error(Op::kv_append, {x, heads}),
            "[kv_append] the cache must be a state, operand 0 is a tensor<Tx8xf32>");
}

TEST_F(ShapeRules, ShortConvTakesDenseTapsAndTheInputsBefore) {
  const auto state = [&](std::string name, int64_t rows, int64_t channels) {
    return b.state(std::move(name), {StateKind::fixed, {DType::f32, {rows, channels}}});
  };
  const auto dense = [&](std::string name, int64_t rows, int64_t cols) {
    return b.weight(name, {{rows, cols}, {CodeMap::dense, 0, 0, 0, DType::bf16}}, {{name}, {}});
  };
  const ValueId taps = dense("taps", 8, 3);
  const ValueId before = state("before", 2, 8);
  const ValueId y = b.add(Op::short_conv, {x, taps, before});
  EXPECT_EQ(type(y), "tensor<Tx8xf32>");
  EXPECT_TRUE(b.finish({y}).ok());
  EXPECT_EQ(error(Op::short_conv, {b.add(Op::last_rows, {x}), taps, before}),
            "[short_conv] the first extent must be T, it is tensor<Lx8xf32>");
  EXPECT_EQ(error(Op::short_conv, {x, vector, before}),
            "[short_conv] the taps must be a dense matrix, they are weight<8, f32>");
  EXPECT_EQ(error(Op::short_conv, {x, dense("nine", 9, 3), before}),
            "[short_conv] the input has 8 channels, the taps are of 9");
  EXPECT_EQ(error(Op::short_conv, {x, dense("one", 8, 1), before}),
            "[short_conv] one tap is no convolution; multiply by a vector");
  EXPECT_EQ(error(Op::short_conv, {x, taps, k}),
            "[short_conv] the inputs before must be a fixed state, it is state<2xCx2, paged f16>");
  EXPECT_EQ(error(Op::short_conv, {x, taps, state("three", 3, 8)}),
            "[short_conv] 3 taps of 8 channels need a state of 2x8, it has state<3x8, fixed f32>");
}

TEST_F(ShapeRules, DeltaRuleTakesHeadsGatesAndAState) {
  const auto tensor = [&](std::vector<Dim> shape) {
    return b.param("p" + std::to_string(b.module().values.size()), {DType::f32, std::move(shape)});
  };
  const auto state = [&](int64_t heads, int64_t rows, int64_t cols) {
    return b.state("s" + std::to_string(b.module().values.size()),
                   {StateKind::fixed, {DType::f32, {heads, rows, cols}}});
  };
  const ValueId q = tensor({T, 2, 3});
  const ValueId v = tensor({T, 4, 5});
  const ValueId gate = tensor({T, 4});
  const ValueId gates = tensor({T, 4, 3});
  const ValueId s = state(4, 5, 3);
  const ValueId y = b.add(Op::delta_rule, {q, q, v, gate, gate, s});
  EXPECT_EQ(type(y), "tensor<Tx4x5xf32>");
  EXPECT_EQ(type(b.add(Op::delta_rule, {q, q, v, gates, gate, s})), "tensor<Tx4x5xf32>");
  EXPECT_TRUE(b.finish({y}).ok());
  EXPECT_EQ(error(Op::delta_rule, {q, v, v, gate, gate, s}),
            "[delta_rule] the query is tensor<Tx2x3xf32>, the key tensor<Tx4x5xf32>");
  EXPECT_EQ(error(Op::delta_rule, {v, v, q, gate, gate, s}),
            "[delta_rule] heads of tensor<Tx2x3xf32> do not share those of tensor<Tx4x5xf32> "
            "evenly");
  EXPECT_EQ(error(Op::delta_rule, {q, q, v, gate, tensor({T, 2}), s}),
            "[delta_rule] a beta of tensor<Tx2xf32> for values of tensor<Tx4x5xf32>");
  EXPECT_EQ(error(Op::delta_rule, {q, q, v, v, gate, s}),
            "[delta_rule] a decay of tensor<Tx4x5xf32> for values of tensor<Tx4x5xf32> and keys of "
            "tensor<Tx2x3xf32>");
  EXPECT_EQ(error(Op::delta_rule, {q, q, v, gate, gate, state(4, 3, 5)}),
            "[delta_rule] values of tensor<Tx4x5xf32> and keys of tensor<Tx2x3xf32> need a state "
            "of 4x5x3, it has state<4x3x5, fixed f32>");
  const Dim last_rows = Dim::of('L');
  EXPECT_EQ(error(Op::delta_rule, {q, q, tensor({last_rows, 4, 5}), gate, gate, s}),
            "[delta_rule] the first extent must be T, it is tensor<Lx4x5xf32>");
}

TEST_F(ShapeRules, SelectiveScanTakesHeadsGroupsAndAState) {
  const auto tensor = [&](std::vector<Dim> shape) {
    return b.param("p" + std::to_string(b.module().values.size()), {DType::f32, std::move(shape)});
  };
  const auto vector = [&](int64_t size) {
    return b.weight("v" + std::to_string(b.module().values.size()), {{size}, {}},
                    {{}, std::vector<float>(static_cast<size_t>(size), -1)});
  };
  const auto state = [&](int64_t heads, int64_t rows, int64_t cols) {
    return b.state("s" + std::to_string(b.module().values.size()),
                   {StateKind::fixed, {DType::f32, {heads, rows, cols}}});
  };
  const ValueId x = tensor({T, 4, 5});
  const ValueId a = vector(4);
  const ValueId group = tensor({T, 2, 3});
  const ValueId s = state(4, 5, 3);
  const ValueId dt = tensor({T, 4});
  const ValueId y = b.add(Op::selective_scan, {x, a, group, group, s, dt, a});
  EXPECT_EQ(type(y), "tensor<Tx4x5xf32>");
  EXPECT_EQ(type(b.add(Op::selective_scan, {x, vector(12), group, group, s})), "tensor<Tx4x5xf32>");
  EXPECT_TRUE(b.finish({y}).ok());
  EXPECT_EQ(error(Op::selective_scan, {x, a, group, x, s}),
            "[selective_scan] b is tensor<Tx2x3xf32>, c tensor<Tx4x5xf32>");
  const ValueId three = tensor({T, 3, 3});
  EXPECT_EQ(error(Op::selective_scan, {x, a, three, three, s}),
            "[selective_scan] heads of tensor<Tx4x5xf32> do not share groups of tensor<Tx3x3xf32> "
            "evenly");
  EXPECT_EQ(error(Op::selective_scan, {x, vector(5), group, group, s}),
            "[selective_scan] 5 numbers in a, expected one for each of 4 heads, or for each of "
            "their 3 columns");
  EXPECT_EQ(error(Op::selective_scan, {x, a, group, group, s, tensor({T, 5})}),
            "[selective_scan] a dt of tensor<Tx5xf32> for an input of tensor<Tx4x5xf32>");
  EXPECT_EQ(error(Op::selective_scan, {x, a, group, group, s, dt, vector(5)}),
            "[selective_scan] 5 numbers in d, there are 4 heads");
  EXPECT_EQ(error(Op::selective_scan, {x, a, group, group, state(4, 3, 5)}),
            "[selective_scan] an input of tensor<Tx4x5xf32> and b of tensor<Tx2x3xf32> need a "
            "state of 4x5x3, it has state<4x3x5, fixed f32>");
  const Dim last_rows = Dim::of('L');
  EXPECT_EQ(error(Op::selective_scan, {tensor({last_rows, 4, 5}), a, group, group, s}),
            "[selective_scan] the first extent must be T, it is tensor<Lx4x5xf32>");
}

TEST_F(ShapeRules, NameTheOpAndWhatWasFound) {
  EXPECT_EQ(error(Op::matmul, {table, matrix}),
            "[matmul] the input has 2 features, the weight takes 8");
  EXPECT_EQ(error(Op::matmul, {heads, matrix}),
            "[matmul] the input must have 2 extents, it is tensor<Tx4x2xf32>");
  EXPECT_EQ(error(Op::matmul, {x, vector}),
            "[matmul] the weight must be a matrix, it is weight<8, f32>");
  EXPECT_EQ(error(Op::matmul, {x, half}),
            "[matmul] the weight must be a weight or a dequantized weight, it is tensor<Tx8xf16>");
  EXPECT_EQ(error(Op::matmul, {matrix, matrix}),
            "[matmul] the input must be a tensor, operand 0 is the weight @matrix");
  EXPECT_EQ(error(Op::matmul, {k, matrix}),
            "[matmul] the input must be a tensor, operand 0 is the state @k");
  EXPECT_EQ(error(Op::matmul, {x}), "[matmul] it has 1 operands, the op takes 2");
  EXPECT_EQ(error(Op::matmul, {x, 99}), "[matmul] operand 1 is no value of the module");
  EXPECT_EQ(error(Op::embed, {x, matrix}),
            "[embed] the tokens must be of i32, they are tensor<Tx8xf32>");
  EXPECT_EQ(error(Op::dequantize, {x}),
            "[dequantize] the operand must be a weight, operand 0 is a tensor<Tx8xf32>");
  EXPECT_EQ(error(Op::dequantize, {vector}),
            "[dequantize] the weight must be a matrix, it is weight<8, f32>");
  EXPECT_EQ(error(Op::add, {x, half}),
            "[add] the operands differ: tensor<Tx8xf32> and tensor<Tx8xf16>");
  EXPECT_EQ(error(Op::mul, {table, vector}),
            "[mul] the first operand has 2 features, the weight vector 8");
  EXPECT_EQ(error(Op::add, {x, packed_vector}),
            "[add] the second operand must be a dense weight vector, it is "
            "weight<8, affine b4 g8 f16>");
  EXPECT_EQ(error(Op::silu, {tokens}), "[silu] the operand must be of floats, it is tensor<Txi32>");
  EXPECT_EQ(error(Op::rms_norm, {table, vector}, {{"eps", 1e-6}}),
            "[rms_norm] the input has 2 features, the weight 8");
  EXPECT_EQ(error(Op::rms_norm, {x, vector}, {{"eps", -1.0}}),
            "[rms_norm] eps is -1, it must not be negative");
  EXPECT_EQ(error(Op::rotate, {table, vector}, {{"block", int64_t{2}}}),
            "[rotate] the input has 2 features, there are 8 signs");
  EXPECT_EQ(error(Op::rotate, {x}, {{"block", int64_t{16}}}),
            "[rotate] blocks of 16 do not divide 8 features");
  for (const int64_t block : {0, 1, 6, -4})
    EXPECT_EQ(
        error(Op::rotate, {x}, {{"block", block}}),
        "[rotate] the block is " + std::to_string(block) + ", it must be a power of two from 2 on");
  EXPECT_EQ(error(Op::slice, {x}, {{"begin", int64_t{4}}, {"end", int64_t{9}}}),
            "[slice] 4..9 is no range of the 8 features");
  EXPECT_EQ(error(Op::slice, {x}, {{"begin", int64_t{4}}, {"end", int64_t{4}}}),
            "[slice] 4..4 is no range of the 8 features");
  EXPECT_EQ(error(Op::rope_table, {vector, tokens}, {{"log_period", int64_t{0}}}),
            "[rope_table] log_period is 0 and log_offset 0, they must be 1 and 0 to 1073741824");
  EXPECT_EQ(error(Op::rope, {heads, x}),
            "[rope] the table rotates 8 features of heads with 2; it must be an even number, no "
            "more than a head has");
  EXPECT_EQ(error(Op::rope, {heads, table}, {{"begin", int64_t{1}}}),
            "[rope] 2 features from 1 on are not in heads with 2");
  EXPECT_EQ(error(Op::rope, {heads, table}, {{"style", std::string("whole")}}),
            "[rope] style \"whole\" is unknown; \"half\" and \"interleaved\" are");
  EXPECT_EQ(error(Op::attention, {heads, k, wide}, {{"scale", 1.0}}),
            "[attention] the key cache is state<2xCx2, paged f16>, the value cache "
            "state<3xCx2, paged f16>; they may differ in the width of a head alone");
  const ValueId keys_of_5 =
      b.state("keys_of_5", {StateKind::paged, {DType::f16, {2, Dim::of('C'), 5}}});
  EXPECT_EQ(error(Op::attention, {heads, keys_of_5, v}, {{"scale", 1.0}}),
            "[attention] the query has 4 heads of 2 features, the key cache heads of 5");
  const ValueId few = b.state("few", {StateKind::paged, {DType::f16, {2, 9, 2}}});
  EXPECT_EQ(error(Op::attention, {heads, k, few}, {{"scale", 1.0}}),
            "[attention] the key cache is state<2xCx2, paged f16>, the value cache "
            "state<2x9x2, paged f16>; they may differ in the width of a head alone");
  EXPECT_EQ(error(Op::attention, {heads, k, v}, {{"scale", 1.0}, {"window", int64_t{-1}}}),
            "[attention] the window has -1 positions, it must have 1 to 1073741824, or 0 for none");
  EXPECT_EQ(error(Op::attention, {heads, k, v}, {{"scale", 1.0}, {"softcap", -30.0}}),
            "[attention] softcap is -30, it must be 0.001 to 1000000, or 0 for none");
  const ValueId last = b.state("last", {StateKind::ring, {DType::f16, {2, 9, 2}}});
  EXPECT_EQ(error(Op::attention, {heads, last, last}, {{"scale", 1.0}, {"window", int64_t{10}}}),
            "[attention] the key cache is state<2x9x2, ring f16> and forgets what a window of 10 "
            "positions needs");
  EXPECT_EQ(error(Op::attention, {heads, last, last}, {{"scale", 1.0}}),
            "[attention] the key cache is state<2x9x2, ring f16> and forgets what attention "
            "without a window needs");
  EXPECT_EQ(error(Op::attention, {heads, k, v}, {{"scale", 1.0}, {"chunk", int64_t{-1}}}),
            "[attention] the chunk has -1 positions, it must have 1 to 1073741824, or 0 for none");
  EXPECT_EQ(error(Op::attention, {heads, last, last}, {{"scale", 1.0}, {"chunk", int64_t{10}}}),
            "[attention] the key cache is state<2x9x2, ring f16> and forgets what a window of 10 "
            "positions needs");
  EXPECT_EQ(error(Op::attention, {heads, last, few}, {{"scale", 1.0}, {"window", int64_t{9}}}),
            "[attention] the key cache is state<2x9x2, ring f16>, the value cache "
            "state<2x9x2, paged f16>; they may differ in the width of a head alone");
  EXPECT_EQ(error(Op::attention, {heads, wide, wide}, {{"scale", 1.0}}),
            "[attention] 4 query heads do not share 3 KV heads evenly");
  EXPECT_EQ(error(Op::attention, {heads, k, v, vector}, {{"scale", 1.0}}),
            "[attention] there are 8 sinks for 4 query heads");
  EXPECT_EQ(error(Op::attention, {heads, k, v, table}, {{"scale", 1.0}}),
            "[attention] the sinks must be a weight, operand 3 is a tensor<Tx2xf32>");
  EXPECT_EQ(error(Op::concat, {heads, b.param("three", {DType::f32, {T, 3, 2}})}),
            "[concat] heads of tensor<Tx3x2xf32> do not go behind those of tensor<Tx4x2xf32>");
  const auto groups = [&](int64_t k, int64_t count, int64_t kept, int64_t best) {
    return error(Op::top_k, {x},
                 {{"k", k}, {"groups", count}, {"groups_kept", kept}, {"group_best", best}});
  };
  EXPECT_EQ(groups(1, 3, 1, 1), "[top_k] 3 groups do not divide 8 columns");
  EXPECT_EQ(groups(1, 4, 5, 1), "[top_k] 1 columns of 5 of the 4 groups, which have 2 each");
  EXPECT_EQ(groups(3, 4, 1, 1), "[top_k] 3 columns of 1 of the 4 groups, which have 2 each");
  EXPECT_EQ(groups(1, 4, 1, 3), "[top_k] 3 columns score a group, which has 2");
  EXPECT_EQ(error(Op::clamp, {x}, {{"min", 2.0}, {"max", 1.0}}), "[clamp] min is 2, above max, 1");
  EXPECT_EQ(error(Op::layer_norm, {x}, {{"eps", 1e-5}}),
            "[layer_norm] it has 1 operands, the op takes 2 to 3");
  EXPECT_EQ(error(Op::layer_norm, {x, vector, vector, vector}, {{"eps", 1e-5}}),
            "[layer_norm] it has 4 operands, the op takes 2 to 3");
  EXPECT_EQ(error(Op::layer_norm, {x, vector, table}, {{"eps", 1e-5}}),
            "[layer_norm] the bias must be a weight, operand 2 is a tensor<Tx2xf32>");
  EXPECT_EQ(error(Op::layer_norm, {table, vector, vector}, {{"eps", 1e-5}}),
            "[layer_norm] the input has 2 features, the weight 8");
  EXPECT_EQ(error(Op::l2_norm, {heads}, {{"eps", -1.0}}),
            "[l2_norm] eps is -1, it must not be negative");
  EXPECT_EQ(error(Op::softmax, {b.param("square", {DType::f32, {T, T}})}),
            "[softmax] the last extent must be a number, it is tensor<TxTxf32>");
  EXPECT_EQ(error(Op::fused, {}, {{"kind", std::string("rows")}}),
            "[fused] its result types are those of the values that leave its body");
}

TEST_F(ShapeRules, CheckAttributes) {
  EXPECT_EQ(error(Op::rms_norm, {x, vector}), "[rms_norm] attribute eps is missing");
  EXPECT_EQ(error(Op::silu, {x}, {{"eps", 1.0}}), "[silu] attribute eps is unknown");
  EXPECT_EQ(error(Op::slice, {x}, {{"begin", 0.5}, {"end", int64_t{4}}}),
            "[slice] attribute begin must be an integer");
  EXPECT_EQ(error(Op::rope, {heads, table}, {{"style", 1.0}}),
            "[rope] attribute style must be a string");
  EXPECT_EQ(error(Op::attention, {heads, k, v}, {{"scale", std::string("1")}}),
            "[attention] attribute scale must be a finite number");
}

TEST_F(ShapeRules, ReshapeKeepsElementsAndTheLeadingSymbol) {
  EXPECT_EQ(reshape_error(x, {T, 9}),
            "[reshape] tensor<Tx9xf32> does not hold the elements of tensor<Tx8xf32>");
  EXPECT_EQ(reshape_error(x, {Dim::of('L'), 8}),
            "[reshape] tensor<Lx8xf32> does not hold the elements of tensor<Tx8xf32>");
  EXPECT_EQ(reshape_error(x, {8}),
            "[reshape] tensor<8xf32> does not hold the elements of tensor<Tx8xf32>");
  EXPECT_EQ(reshape_error(x, {8, T}),
            "[reshape] only the first extent may be a symbol, found tensor<8xTxf32>");
  EXPECT_EQ(reshape_error(x, {T, 0}), "[reshape] tensor<Tx0xf32>: extent 0 is not in 1..2^40");
}

TEST(Builder, KeepsTheFirstErrorAndItsPlace) {
  Builder b("m");
  const ValueId x = b.param("x", {DType::f32, {T, 8}});
  b.set_label("layers.3.mlp");
  const ValueId bad = b.add(Op::rms_norm, {x, x}, {{"eps", 1e-6}});
  b.set_label("layers.4.mlp");
  EXPECT_EQ(b.add(Op::silu, {bad}), -1);
  EXPECT_EQ(message(b.finish({x}).status()),
            "[rms_norm] the weight must be a weight, operand 1 is a tensor<Tx8xf32> "
            "(in layers.3.mlp)");
}

TEST(Builder, RefusesBadTypesAndDuplicateNames) {
  Builder bad("m");
  EXPECT_EQ(bad.weight("w", {{4, 6}, {CodeMap::affine, 4, 4, 0, DType::f16}}, {{"w"}, {}}), -1);
  EXPECT_EQ(message(bad.finish({}).status()),
            "weight<4x6, affine b4 g4 f16>: groups of 4 do not divide 6 columns (in w)");

  Builder twice("m");
  const ValueId x = twice.param("x", {DType::f32, {T, 8}});
  twice.state("s", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 2}}});
  twice.state("s", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 2}}});
  EXPECT_EQ(message(twice.finish({x}).status()), "@s is declared twice");
}

TEST(Builder, LabelsNodes) {
  Builder b("m");
  const ValueId x = b.param("x", {DType::f32, {T, 8}});
  b.set_label("mlp");
  const ValueId y = b.add(Op::silu, {x});
  const auto module = b.finish({y});
  ASSERT_TRUE(module.ok());
  EXPECT_EQ(module->nodes[0].label, "mlp");
}

}  // namespace
}  // namespace sinter::ir
