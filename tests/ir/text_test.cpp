#include "ir/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ir/builder.h"
#include "ir/ops.h"
#include "tests/ir/every_op.h"
#include "tests/ir/map_source.h"

namespace sinter::ir {
namespace {

std::string error_of(std::string_view text) {
  const absl::StatusOr<Module> module = parse(text, "f.sir");
  return module.ok() ? "parsed" : message(module.status());
}

// The error for kEveryOp after `from` became `to`.
std::string error_after(std::string_view from, std::string_view to) {
  std::string text = kEveryOp;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  if (at == std::string::npos) return "";
  return error_of(text.replace(at, from.size(), to));
}

TEST(Text, PrintsWhatItParsed) {
  const absl::StatusOr<Module> module = parse(kEveryOp, "every_op");
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(print(*module), kEveryOp);
}

TEST(Text, RotatedWeights) {
  const auto text = [](const std::string& type) {
    return "module @m {\n  weight @w : weight<" + type +
           "> = source(\"w\")\n  func @forward(%x: tensor<Tx8xf32>) {\n    %0 = rotate %x {block = "
           "4} : tensor<Tx8xf32>\n    %1 = matmul %0, @w : tensor<Tx8xf32>\n    return %1\n  "
           "}\n}\n";
  };
  const std::string good = text("8x8, ternary b2 g8 f16, rotated 4");
  const absl::StatusOr<Module> module = parse(good, "f.sir");
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(print(*module), good);
  EXPECT_EQ(error_of(text("8x8, f16, rotated")),
            "f.sir:2:39: found '>', expected the columns of a block, e.g. rotated 1024");
  EXPECT_EQ(error_of(text("8x8, f16, rotated 0")),
            "f.sir:2:40: found '0', expected the columns of a block, e.g. rotated 1024");
  for (const std::string block : {"1", "6", "16"})
    EXPECT_EQ(error_of(text("8x8, f16, rotated " + block)),
              "f.sir:2:15: weight<8x8, f16, rotated " + block + ">: blocks of " + block +
                  " are no power of two from 2 on or do not divide 8 columns");
  EXPECT_EQ(error_of(text("8, f16, rotated 4")),
            "f.sir:2:15: weight<8, f16, rotated 4>: only matrices are rotated");
}

TEST(Text, SampleHasEveryOp) {
  for (const OpInfo& op : op_table()) {
    EXPECT_NE(std::string(kEveryOp).find(std::string(op.name) + " "), std::string::npos) << op.name;
  }
}

TEST(Text, NumbersResultsInOrderOfDefinition) {
  const absl::StatusOr<Module> module = parse(R"(// a comment
module @m {
  // another
  func @forward(%x: tensor<Tx8xf32>) {
    %70 = silu %x : tensor<Tx8xf32> // and one more
    %9 = silu %70 : tensor<Tx8xf32>
    return %9, %70
  }
})",
                                              "f");
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(print(*module), R"(module @m {
  func @forward(%x: tensor<Tx8xf32>) {
    %0 = silu %x : tensor<Tx8xf32>
    %1 = silu %0 : tensor<Tx8xf32>
    return %1, %0
  }
}
)");
}

TEST(Text, NumbersComeBackExactly) {
  Builder b("m");
  const ValueId x = b.param("x", {DType::f32, {Dim::of('T'), 4}});
  const std::vector<float> constants = {0.1F, -0.0F, std::numeric_limits<float>::denorm_min(),
                                        std::numeric_limits<float>::max()};
  const ValueId c = b.weight("c", {{4}, {}}, {{}, constants});
  const std::vector<double> numbers = {
      1.0, 0.1, 1e-300, 123456789012345680.0, std::numeric_limits<double>::denorm_min(), 1.0 / 3};
  ValueId y = x;
  for (double eps : numbers) y = b.add(Op::rms_norm, {y, c}, {{"eps", eps}});
  y = b.add(Op::rms_norm, {y, c}, {{"eps", int64_t{1}}});
  const auto module = b.finish({y});
  ASSERT_TRUE(module.ok()) << module.status();

  const auto again = parse(print(*module), "again");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->weights.begin()->second.constant, constants);
  EXPECT_TRUE(std::signbit(again->weights.begin()->second.constant[1]));
  for (size_t i = 0; i < numbers.size(); ++i) {
    EXPECT_EQ(std::get<double>(again->nodes[i].attributes.at("eps")), numbers[i]);
  }
  EXPECT_EQ(std::get<int64_t>(again->nodes.back().attributes.at("eps")), 1);
}

TEST(Text, QuotesNamesThatAreNotPlain) {
  Builder b("m \"1\"");
  const ValueId x = b.param("7", {DType::f32, {Dim::of('T'), 4}});
  b.weight("a|b-c/d_e.0", {{4}, {}}, {{"s"}, {}});
  const ValueId w = b.weight("w w", {{4}, {}}, {{"s"}, {}});
  const auto module = b.finish({b.add(Op::add, {x, w})});
  ASSERT_TRUE(module.ok()) << module.status();
  const std::string text = print(*module);
  EXPECT_NE(text.find("module @\"m \\\"1\\\"\" {"), std::string::npos);
  EXPECT_NE(text.find("weight @a|b-c/d_e.0 :"), std::string::npos);
  EXPECT_NE(text.find("add %\"7\", @\"w w\" :"), std::string::npos);
  const auto again = parse(text, "again");
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(print(*again), text);
}

TEST(Text, LeavesOutWeightsThatAPassDropped) {
  Module module = *parse(kEveryOp, "every_op");
  module.add_weight("unused", {{4}, {}}, {{"s"}, {}});
  EXPECT_NE(print(module).find("@unused"), std::string::npos);
  module.weights.erase(module.find_symbol("unused"));
  EXPECT_EQ(print(module), kEveryOp);
}

TEST(Text, PrintsAttributesOfEveryType) {
  Module module;
  module.name = "m";
  Node node;
  node.op = Op::add;
  node.attributes = {{"flag", true},
                     {"integer", int64_t{-3}},
                     {"integers", std::vector<int64_t>{16, 24, -1}},
                     {"number", 3.0},
                     {"text", "a \"b\""}};
  module.nodes = {node};
  EXPECT_NE(print(module).find("add {flag = true, integer = -3, integers = [16, 24, -1], "
                               "number = 3.0, text = \"a \\\"b\\\"\"}\n"),
            std::string::npos)
      << print(module);
}

TEST(Text, PrintsModulesThatDoNotVerify) {
  Module module;
  module.name = "broken";
  module.returns = {5, -1};
  Node node;
  node.op = Op::add;
  node.operands = {3, 4};
  node.results = {9};
  module.nodes = {node};
  EXPECT_NE(print(module).find("%?9 = add %?3, %?4 : ?"), std::string::npos);
}

TEST(TextErrors, SayFileLineColumnFoundAndExpected) {
  EXPECT_EQ(error_of(""), "f.sir:1:1: found end of text, expected 'module'");
  EXPECT_EQ(error_of("module x"), "f.sir:1:8: found 'x', expected the module's name after '@'");
  EXPECT_EQ(error_of("module @m {\n  wait @x"),
            "f.sir:2:3: found 'wait', expected weight, state or func");
  EXPECT_EQ(error_of("module @m {\n  weight @x : weight<4y4, f16>"),
            "f.sir:2:22: found '4y4', expected a shape, e.g. 512x256");
  EXPECT_EQ(error_of("module @m {\n  weight @x : weight<4x4, affine g4 f16>"),
            "f.sir:2:34: found 'g4', expected bits per code, e.g. b4");
  EXPECT_EQ(error_of("module @m {\n  weight @x : weight<4x4, symmetric b4 zz g4 f16>"),
            "f.sir:2:40: found 'zz', expected a zero point, e.g. z7.5");
  EXPECT_EQ(error_of("module @m {\n  weight @x : weight<4x4, affine b4 g3 f16>"),
            "f.sir:2:15: weight<4x4, affine b4 g3 f16>: groups of 3 do not divide 4 columns");
  EXPECT_EQ(error_of("module @m {\n  state @x : state<99999999999999999999, paged f16>"),
            "f.sir:2:20: found '99999999999999999999', expected a shape, e.g. 2xCx64");
  EXPECT_EQ(error_of("module @m {\n  state @x : tensor<4xf32>"),
            "f.sir:2:14: found 'tensor', expected 'state'");
  EXPECT_EQ(error_of("module @m {\n  state @x : state<4, kept f32>"),
            "f.sir:2:23: found 'kept', expected paged or ring or fixed");
  EXPECT_EQ(error_of("module @m {\n  state @x : state<4, fixed g4>"),
            "f.sir:2:29: found 'g4', expected an element type");
  EXPECT_EQ(error_of("module @m { $"),
            "f.sir:1:13: the character '$', expected a word, a name or punctuation");
  EXPECT_EQ(error_of("module @ {"), "f.sir:1:8: '@' alone, expected a name after it");
  EXPECT_EQ(error_of("module @\"a\n\""),
            "f.sir:1:9: a string that does not end on its line, expected '\"'");
  EXPECT_EQ(error_of("module @\"a\\q\""),
            "f.sir:1:11: an unknown escape, expected \\\", \\\\, \\n, \\t or \\x and two digits");
  EXPECT_EQ(error_of(std::string(kEveryOp) + "x"),
            "f.sir:85:1: found 'x', expected the end of the text");
}

TEST(TextErrors, PointAtTheNode) {
  EXPECT_EQ(error_after("%0 = embed %tokens", "%0 = embed %t"),
            "f.sir:16:16: '%t' is not defined before its use");
  EXPECT_EQ(error_after("silu %14", "silu %15"),
            "f.sir:37:16: '%15' is not defined before its use");
  EXPECT_EQ(error_after("%15 = silu", "%15 = melt"),
            "f.sir:37:11: found 'melt', expected an op or return");
  EXPECT_EQ(error_after("%15 = silu", "%14 = silu"), "f.sir:37:5: '%14' is defined twice");
  EXPECT_EQ(error_after("%15 = silu", "silu"), "f.sir:37:5: [silu] found 0 results, expected 1");
  EXPECT_EQ(error_after("%15 = silu", "%a = silu"),
            "f.sir:37:5: found '%a', expected a result, e.g. %12");
  EXPECT_EQ(error_after("kv_append @layers.0.k", "%99 = kv_append @layers.0.k"),
            "f.sir:32:13: [kv_append] found 1 results, expected 0");
  EXPECT_EQ(error_after("silu %14 : tensor<Tx8xf32>", "silu %14 : tensor<Tx9xf32>"),
            "f.sir:37:20: found the type tensor<Tx9xf32>, expected tensor<Tx8xf32>");
  EXPECT_EQ(error_after("matmul %2, @kv", "matmul %1, @kv"),
            "f.sir:22:12: [matmul] the input has 2 features, the weight takes 8");
  EXPECT_EQ(error_after("{eps = 1e-06}", "{eps = 1e999}"),
            "f.sir:18:36: found '1e999', expected a number or a string");
  EXPECT_EQ(error_after("{begin = 0, end = 4}", "{begin = 0, begin = 4}"),
            "f.sir:23:33: attribute begin is given twice");
  EXPECT_EQ(error_after("constant(0.01)", "constant(0.01x)"),
            "f.sir:7:53: found '0.01x', expected a finite f32");
  EXPECT_EQ(error_after("weight @q ", "weight @norm "), "f.sir:4:10: '@norm' is declared twice");
}

TEST(TextErrors, AttributesHaveTheTypeOfTheTable) {
  EXPECT_EQ(error_after("{eps = 1e-06}", "{eps = true}"),
            "f.sir:18:10: [rms_norm] attribute eps must be a finite number");
  EXPECT_EQ(error_after("{eps = 1e-06}", "{eps = [1, -2]}"),
            "f.sir:18:10: [rms_norm] attribute eps must be a finite number");
  EXPECT_EQ(error_after("{eps = 1e-06}", "{eps = []}"),
            "f.sir:18:10: [rms_norm] attribute eps must be a finite number");
  EXPECT_EQ(error_after("{eps = 1e-06}", "{eps = [1, 0.5]}"),
            "f.sir:18:40: found '0.5', expected an integer");
  EXPECT_EQ(error_after("{eps = 1e-06}", "{eps = [1 2]}"), "f.sir:18:39: found '2', expected ','");
}

TEST(TextErrors, KeepLocalValuesInTheirBody) {
  EXPECT_EQ(error_after("reshape %6", "reshape %5"),
            "f.sir:26:18: '%5' is local to the body above; list it on the left of the fused node "
            "to use it here");
  EXPECT_EQ(error_after("%6, %7 = fused", "%6, %4 = fused"),
            "f.sir:21:9: '%4' is not defined in the body");
  EXPECT_EQ(error_after("%6, %7 = fused", "%6, %6 = fused"), "f.sir:21:9: '%6' is listed twice");
  EXPECT_EQ(error_after("} : tensor<Tx4xf32>, tensor<Tx4xf32>", "} : tensor<Tx4xf32>"),
            "f.sir:26:5: found '%8', expected ','");
}

TEST(TextErrors, RefuseNestingAtOnce) {
  std::string deep = "module @m { func @forward() {";
  for (int i = 0; i < 100000; ++i) deep += "fused {kind = \"rows\"} {";
  EXPECT_EQ(error_of(deep), "f.sir:1:53: found 'fused' in a body, expected another op");
}

TEST(TextErrors, VerifyTheWhole) {
  EXPECT_EQ(error_after("constant(0.01)", "constant(0.01, 1)"),
            "f.sir: @rope.inv_freq: 2 constants for 1 elements");
  EXPECT_EQ(error_after("add %0, %13", "add %3, %3"),
            "f.sir:36:22: found the type tensor<Tx8xf32>, expected tensor<8x8xf32>");
}

TEST(TextErrors, EveryPrefixIsRefused) {
  const std::string text = kEveryOp;
  // The last two bytes are the closing brace and a line end.
  for (size_t length = 0; length + 2 < text.size(); ++length) {
    EXPECT_FALSE(parse(text.substr(0, length), "f").ok()) << length;
  }
}

}  // namespace
}  // namespace sinter::ir
