#include "ir/verifier.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "ir/ops.h"
#include "ir/text.h"
#include "tests/ir/map_source.h"

namespace sinter::ir {
namespace {

constexpr const char* kText = R"(module @m {
  weight @w : weight<8x8, affine b4 g8 f16> = source("w")
  weight @c : weight<2, f32> = constant(1, 2)
  state @k : state<2xCx4, paged f16>
  func @forward(%x: tensor<Tx8xf32>) {
    %0 = dequantize @w : tensor<8x8xf32>
    %1 = matmul %x, %0 : tensor<Tx8xf32>
    %3 = fused {kind = "rows"} label "place" {
      %2 = silu %1 : tensor<Tx8xf32>
      %3 = sigmoid %2 : tensor<Tx8xf32>
    } : tensor<Tx8xf32>
    return %3
  }
}
)";

// The error after one change to a good module.
std::string error_after(const std::function<void(Module&)>& change) {
  absl::StatusOr<Module> module = parse(kText, "m");
  EXPECT_TRUE(module.ok()) << module.status();
  if (!module.ok()) return "";
  change(*module);
  return message(verify(*module));
}

TEST(Verifier, AcceptsAGoodModule) {
  EXPECT_EQ(error_after([](Module&) {}), "");
}

TEST(Verifier, WantsValuesDefinedBeforeTheirUse) {
  EXPECT_EQ(error_after([](Module& m) { std::swap(m.nodes[0], m.nodes[1]); }),
            "[matmul] operand 1, value 4, is not defined before its use");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[1].operands[0] = 1000; }),
            "[matmul] operand 0 is value 1000, which the module does not have");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[1].operands[0] = -1; }),
            "[matmul] operand 0 is value -1, which the module does not have");
}

TEST(Verifier, WantsValuesDefinedOnce) {
  EXPECT_EQ(error_after([](Module& m) { m.nodes.insert(m.nodes.begin(), m.nodes[0]); }),
            "[dequantize] value 4 is defined twice");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[0].results = m.params; }),
            "[dequantize] its result is %x, which is no result");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[0].results.clear(); }),
            "[dequantize] it has 0 results, the op gives 1");
}

TEST(Verifier, RechecksTypesByTheShapeRule) {
  EXPECT_EQ(error_after([](Module& m) {
              m.values[static_cast<size_t>(m.nodes[1].results[0])].type =
                  TensorType{DType::f16, {Dim::of('T'), 8}};
            }),
            "[matmul] the result is declared tensor<Tx8xf16>, the op gives tensor<Tx8xf32>");
  EXPECT_EQ(error_after([](Module& m) {
              m.values[static_cast<size_t>(m.nodes[2].results[0])].type =
                  TensorType{DType::f32, {Dim::of('T'), 9}};
            }),
            "[sigmoid] the result is declared tensor<Tx9xf32>, the op gives tensor<Tx8xf32> "
            "(in place)");
  EXPECT_EQ(error_after([](Module& m) { m.values[0].type = TensorType{DType::f32, {8}}; }),
            "@w has the type tensor<8xf32>");
}

TEST(Verifier, LetsOnlyRowReadersTakeDequantizedWeights) {
  EXPECT_EQ(error_after([](Module& m) { m.nodes[2].body[0].operands[0] = m.nodes[0].results[0]; }),
            "[silu] operand 0, value 4, is a dequantized weight; only products and embed take one "
            "(in place)");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[1].operands[1] = m.params[0]; }),
            "[matmul] operand 1, %x, must be a weight or a dequantized weight");
  EXPECT_EQ(error_after([](Module& m) { m.returns = m.nodes[0].results; }),
            "value 4 is returned; only computed tensors can be");
}

// The error for a module whose body this is, with a rotated table, rotated matrices, and one that
// is not.
std::string rotation_error(const std::string& body) {
  const absl::StatusOr<Module> module = parse(R"(module @m {
  weight @table : weight<8x8, ternary b2 g8 f16, rotated 4> = source("table")
  weight @w : weight<8x8, ternary b2 g8 f16, rotated 4> = source("w")
  weight @experts : weight<2x8x8, ternary b2 g8 f16, rotated 8> = source("experts")
  weight @plain : weight<8x8, ternary b2 g8 f16> = source("plain")
  func @forward(%tokens: tensor<Txi32>, %x: tensor<Tx8xf32>, %chosen: tensor<Tx1xi32>) {
)" + body + "\n  }\n}\n",
                                              "m");
  const std::string text = message(module.status());
  return text.substr(0, text.find(" (in"));
}

TEST(Verifier, WantsRotatedRowsForRotatedMatrices) {
  const std::string input = "matmul %0, @w : tensor<Tx8xf32>\nreturn %1";
  EXPECT_EQ(rotation_error("%0 = rotate %x {block = 4} : tensor<Tx8xf32>\n%1 = " + input), "");
  EXPECT_EQ(rotation_error(R"(
    %0 = rotate %x {block = 4} : tensor<Tx8xf32>
    %3 = fused {kind = "matmul"} label "in place" {
      %1 = last_rows %0 : tensor<Lx8xf32>
      %2 = matmul %1, @w : tensor<Lx8xf32>
      %3 = silu %2 : tensor<Lx8xf32>
    } : tensor<Lx8xf32>
    %4 = dequantize @w : tensor<8x8xf32>
    %5 = matmul %0, %4 : tensor<Tx8xf32>
    %6 = matmul %0, @plain : tensor<Tx8xf32>
    %7 = rotate %x {block = 8} : tensor<Tx8xf32>
    %8 = gather_matmul %7, %chosen, @experts : tensor<Tx1x8xf32>
    return %3, %5, %6, %8)"),
            "");
  const auto wanted = [](const std::string& op, const std::string& weight, int block) {
    return "[" + op + "] the columns of " + weight + " are rotated in blocks of " +
           std::to_string(block) + "; its input, ";
  };
  const std::string behind = ", must be rows that [rotate] made with this block";
  const auto starts = [](const std::string& text, const std::string& start) {
    return text.find(start) != std::string::npos;
  };
  for (const std::string made :
       {"silu %x", "rotate %x {block = 8}", "rotate %x {block = 4, inverse = true}"}) {
    const std::string error = rotation_error("%0 = " + made + " : tensor<Tx8xf32>\n%1 = " + input);
    EXPECT_TRUE(starts(error, wanted("matmul", "@w", 4))) << error;
    EXPECT_TRUE(starts(error, behind)) << error;
  }
  std::string error = rotation_error(
      "%0 = dequantize @w : tensor<8x8xf32>\n%1 = matmul %x, %0 : tensor<Tx8xf32>\nreturn %1");
  EXPECT_TRUE(starts(error, "; its input, %x" + behind)) << error;
  error = rotation_error("%0 = gather_matmul %x, %chosen, @experts : tensor<Tx1x8xf32>\nreturn %0");
  EXPECT_TRUE(starts(error, wanted("gather_matmul", "@experts", 8))) << error;
  // What is done with rotated rows is no rotated row.
  error = rotation_error(R"(
    %0 = rotate %x {block = 4} : tensor<Tx8xf32>
    %2 = fused {kind = "matmul"} {
      %1 = silu %0 : tensor<Tx8xf32>
      %2 = matmul %1, @w : tensor<Tx8xf32>
    } : tensor<Tx8xf32>
    return %2)");
  EXPECT_TRUE(starts(error, wanted("matmul", "@w", 4))) << error;
}

TEST(Verifier, WantsRowsOfARotatedTableRotatedBack) {
  EXPECT_EQ(rotation_error(R"(
    %0 = embed %tokens, @table : tensor<Tx8xf32>
    %1 = last_rows %0 : tensor<Lx8xf32>
    %2 = rotate %1 {block = 4, inverse = true} : tensor<Lx8xf32>
    %3 = silu %2 : tensor<Lx8xf32>
    return %3)"),
            "");
  for (const std::string reader :
       {"silu %0", "rotate %0 {block = 4}", "rotate %0 {block = 8, inverse = true}",
        "matmul %0, @plain", "add %x, %0"}) {
    const std::string error =
        rotation_error("%0 = embed %tokens, @table : tensor<Tx8xf32>\n%1 = " + reader +
                       " : tensor<Tx8xf32>\nreturn %1");
    EXPECT_NE(
        error.find("is rows of a table that is rotated in blocks of 4; only [rotate] with this "
                   "block and inverse = true may read them"),
        std::string::npos)
        << reader << ": " << error;
  }
  const std::string error = rotation_error(
      "%0 = dequantize @table : tensor<8x8xf32>\n%1 = embed %tokens, %0 : tensor<Tx8xf32>\nreturn "
      "%1");
  EXPECT_NE(error.find("is returned; it is rows of a rotated table"), std::string::npos) << error;
}

TEST(Verifier, ChecksBodies) {
  EXPECT_EQ(error_after([](Module& m) { m.nodes[0].body = m.nodes[2].body; }),
            "[dequantize] only fused has a body");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[2].body.push_back(m.nodes[2]); }),
            "[fused] a body may not have a fused node (in place)");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[2].body.clear(); }),
            "[fused] the body is empty (in place)");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[2].results = m.nodes[1].results; }),
            "[fused] its result value 5 is not defined in the body (in place)");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[2].results.push_back(m.nodes[2].results[0]); }),
            "[fused] its result value 7 is listed twice (in place)");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[2].operands = m.params; }),
            "[fused] it has operands; what its body reads are its inputs (in place)");
  EXPECT_EQ(error_after([](Module& m) { m.nodes[2].attributes["kind"] = std::string("soup"); }),
            "[fused] kind \"soup\" is unknown; known: embed, rope_table, matmul, attention, "
            "convolution, delta, scan, "
            "rows, top_k, router, experts (in place)");
}

TEST(Verifier, HoldsBodiesToWhatTheirKindMayHold) {
  const auto as = [](const char* kind) {
    return error_after([&](Module& m) { m.nodes[2].attributes["kind"] = std::string(kind); });
  };
  EXPECT_EQ(as("matmul"), "");
  EXPECT_EQ(as("attention"), "");
  EXPECT_EQ(as("embed"),
            "[silu] in a phase of kind \"embed\", which is rows of a table, rotated back and "
            "scaled (in place)");
  EXPECT_EQ(as("experts"), "");
  EXPECT_EQ(as("top_k"),
            "[silu] in a phase of kind \"top_k\", which is the columns of the largest of every row "
            "(in place)");
}

// A row of the table that no op has yet.
TEST(Verifier, ChecksAttributesByTheirTypes) {
  OpInfo op = info(Op::silu);
  op.name = "melt";
  op.attributes = {{"count", AttributeType::integer, {}},
                   {"heat", AttributeType::number, 1.0},
                   {"name", AttributeType::text, "tin"},
                   {"slowly", AttributeType::flag, false},
                   {"parts", AttributeType::integers, std::vector<int64_t>{}}};
  const auto check = [&](Attributes attributes) {
    attributes.emplace("count", int64_t{1});
    return message(verify_attributes(op, attributes));
  };
  EXPECT_EQ(message(verify_attributes(op, {})), "[melt] attribute count is missing");
  EXPECT_EQ(check({}), "");
  EXPECT_EQ(check({{"heat", int64_t{1}}, {"name", "lead"}, {"slowly", true}}), "");
  EXPECT_EQ(check({{"parts", std::vector<int64_t>{1, 2}}}), "");
  EXPECT_EQ(check({{"count", 1.0}}), "[melt] attribute count must be an integer");
  EXPECT_EQ(check({{"count", true}}), "[melt] attribute count must be an integer");
  EXPECT_EQ(check({{"heat", true}}), "[melt] attribute heat must be a finite number");
  EXPECT_EQ(check({{"heat", std::numeric_limits<double>::infinity()}}),
            "[melt] attribute heat must be a finite number");
  EXPECT_EQ(check({{"name", int64_t{1}}}), "[melt] attribute name must be a string");
  EXPECT_EQ(check({{"slowly", int64_t{1}}}), "[melt] attribute slowly must be true or false");
  EXPECT_EQ(check({{"parts", int64_t{1}}}), "[melt] attribute parts must be a list of integers");
  EXPECT_EQ(check({{"quickly", true}}), "[melt] attribute quickly is unknown");
}

TEST(Verifier, KeepsLocalValuesInTheirBody) {
  EXPECT_EQ(error_after([](Module& m) {
              Node node = m.nodes[1];
              node.operands[0] = m.nodes[2].body[0].results[0];
              node.results = {m.add_value({ValueKind::result, m.tensor(m.params[0]), ""})};
              m.nodes.push_back(node);
            }),
            "[matmul] operand 0, value 6, is local to the body of another node");
  EXPECT_EQ(error_after([](Module& m) { m.returns = m.nodes[2].body[0].results; }),
            "value 6 is returned but not defined");
}

TEST(Verifier, ChecksDeclarations) {
  EXPECT_EQ(error_after([](Module& m) { m.values[2].name = "w"; }), "@w is declared twice");
  EXPECT_EQ(error_after([](Module& m) { m.values[2].name = ""; }),
            "a weight or a state has no name");
  EXPECT_EQ(error_after([](Module& m) { m.weights[2] = {}; }),
            "numbers are given for @k, which is no weight");
  EXPECT_EQ(error_after([](Module& m) { m.weights[0] = {}; }),
            "@w: a weight has either sources or constants");
  EXPECT_EQ(error_after([](Module& m) { m.weights[1].constant.push_back(3); }),
            "@c: 3 constants for 2 elements");
  EXPECT_EQ(error_after([](Module& m) {
              m.weights[1].constant[0] = std::numeric_limits<float>::infinity();
            }),
            "@c: a constant is not finite");
  EXPECT_EQ(error_after([](Module& m) { m.weights[0] = {{}, {1}}; }),
            "@w: constants are f32, the weight is weight<8x8, affine b4 g8 f16>");
  EXPECT_EQ(error_after([](Module& m) { m.params.push_back(m.params[0]); }),
            "the parameter %x is declared twice");
  EXPECT_EQ(error_after([](Module& m) { m.params[0] = 0; }),
            "the parameter list has @w, which is no parameter");
}

TEST(Verifier, AcceptsDroppedWeightsOnlyWhenUnused) {
  EXPECT_EQ(error_after([](Module& m) { m.weights.erase(1); }), "");
  EXPECT_EQ(error_after([](Module& m) { m.weights.erase(0); }),
            "[dequantize] operand 0, @w, is not defined before its use");
}

TEST(Verifier, WantsAReturn) {
  EXPECT_EQ(error_after([](Module& m) { m.returns.clear(); }), "the module returns nothing");
  EXPECT_EQ(error_after([](Module& m) { m.returns = {2}; }),
            "@k is returned; only computed tensors can be");
}

TEST(Verifier, RefusesOpsOutsideTheTable) {
  EXPECT_EQ(error_after([](Module& m) { m.nodes[1].op = static_cast<Op>(999); }),
            "op number 999 is not in the table");
}

}  // namespace
}  // namespace sinter::ir
