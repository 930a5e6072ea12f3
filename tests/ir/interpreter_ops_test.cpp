// Every op against numbers worked out by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ir/builder.h"
#include "ir/interpreter.h"
#include "tests/ir/map_source.h"

namespace sinter::ir {
namespace {

const Dim T = Dim::of('T');

class OpTest : public testing::Test {
 protected:
  Builder b{"m"};
  MapSource source;
  InterpreterState state;
  std::map<ValueId, Array> values;
  int64_t tokens = 1;
  int64_t logits_rows = 1;

  // A tensor with numbers; a shape that starts with -1 starts with T.
  ValueId input(std::vector<int64_t> shape, std::vector<float> data, DType dtype = DType::f32) {
    TensorType type{dtype, {}};
    for (int64_t& extent : shape) {
      type.shape.push_back(extent == -1 ? T : Dim(extent));
      if (extent == -1) extent = tokens;
    }
    const ValueId id = b.param("p" + std::to_string(values.size()), type);
    values[id] = {std::move(shape), std::move(data)};
    return id;
  }

  ValueId dense(const std::string& name, std::vector<int64_t> shape,
                const std::vector<float>& data) {
    source.dense(name, shape, data);
    return b.weight(name, {std::move(shape), {}}, {{name}, {}});
  }

  // 2-bit affine codes in groups of 2: the rows are {0, 1, 2, 4} and {1.5, 1.5, 1, 2}.
  ValueId quantized() {
    const WeightType type{{2, 4}, {CodeMap::affine, 2, 2, 0, DType::f16}};
    source.affine("q", type, {0xE4, 0x4F}, {0x3C00, 0x4000, 0x3800, 0x3C00},
                  {0x0000, 0xC000, 0x0000, 0x3C00});
    return b.weight("q", type, {{"q"}, {}});
  }

  Array run(ValueId result) {
    const auto out =
        interpret_nodes(b.module(), b.module().nodes, source, values, tokens, logits_rows, state);
    EXPECT_TRUE(out.ok()) << out.status();
    return out.ok() && out->contains(result) ? out->at(result) : Array{};
  }
  Array run(Op op, std::vector<ValueId> operands, Attributes attributes = {}) {
    const ValueId id = b.add(op, std::move(operands), std::move(attributes));
    return run(id);
  }
  std::string error() {
    return message(
        interpret_nodes(b.module(), b.module().nodes, source, values, tokens, logits_rows, state)
            .status());
  }

  static void expect(const Array& array, const std::vector<int64_t>& shape,
                     const std::vector<float>& data) {
    EXPECT_EQ(array.shape, shape);
    ASSERT_EQ(array.data.size(), data.size());
    for (size_t i = 0; i < data.size(); ++i) EXPECT_NEAR(array.data[i], data[i], 2e-6) << i;
  }
};

TEST_F(OpTest, SumNormMakesSharesOfAWhole) {
  tokens = 2;
  const ValueId x = input({-1, 3}, {1, 2, 5, -1, 0, 3});
  expect(run(Op::sum_norm, {x}), {2, 3}, {0.125, 0.25, 0.625, -0.5, 0, 1.5});
  expect(run(Op::sum_norm, {x}, {{"eps", 2.0}}), {2, 3}, {0.1F, 0.2F, 0.5, -0.25, 0, 0.75});
}

TEST_F(OpTest, ConcatPutsHeadsTogether) {
  tokens = 2;
  const ValueId x = input({-1, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  // Of each head, or the same for both.
  expect(run(Op::concat, {x, input({-1, 2, 1}, {10, 20, 30, 40})}), {2, 2, 3},
         {1, 2, 10, 3, 4, 20, 5, 6, 30, 7, 8, 40});
  expect(run(Op::concat, {x, input({-1, 1, 1}, {10, 20})}), {2, 2, 3},
         {1, 2, 10, 3, 4, 10, 5, 6, 20, 7, 8, 20});
}

TEST_F(OpTest, TopKOfTheBestGroups) {
  const auto best = [&](int64_t k, int64_t groups, int64_t kept, int64_t group_best,
                        std::vector<float> row) {
    const auto cols = static_cast<int64_t>(row.size());
    return run(Op::top_k, {input({-1, cols}, std::move(row))},
               {{"k", k}, {"groups", groups}, {"groups_kept", kept}, {"group_best", group_best}});
  };
  // The largest is in the group whose two best have the smaller sum.
  expect(best(2, 2, 1, 2, {9, 0, 1, 5, 6, 2}), {1, 2}, {4, 3});
  expect(best(2, 2, 1, 1, {9, 0, 1, 5, 6, 2}), {1, 2}, {0, 2});
  // Columns of groups that do not count are not chosen, however small the others are.
  expect(best(3, 3, 2, 1, {-5, -6, 0, -1, -7, -2}), {1, 3}, {2, 3, 5});
  // Of equal groups the lower, of equal columns the lower; a NaN counts as the smallest.
  expect(best(2, 2, 1, 2, {1, 3, 3, 1}), {1, 2}, {1, 0});
  expect(best(2, 2, 1, 1, {NAN, 3, 4, NAN}), {1, 2}, {2, 3});
}

TEST_F(OpTest, GatherTakesTheValuesOfColumns) {
  tokens = 2;
  const ValueId x = input({-1, 3}, {1, 2, 3, 4, 5, 6});
  expect(run(Op::gather, {x, input({-1, 2}, {2, 0, 1, 1}, DType::i32)}), {2, 2}, {3, 1, 5, 5});
}

TEST_F(OpTest, GatherTakesTheValuesOfAVector) {
  tokens = 2;
  const ValueId x = dense("scales", {3}, {1, 2, 3});
  expect(run(Op::gather, {x, input({-1, 2}, {2, 0, 1, 1}, DType::i32)}), {2, 2}, {3, 1, 2, 2});
}

// The first row: beside 10 only 9.9 is not far below; without 10 nothing is far from 9.9 but 8.
// Shares of numbers below 0, whose own size counts, and of equal ones.
TEST_F(OpTest, SparsemixerSharesAmongThoseThatAreNear) {
  tokens = 3;
  const ValueId x = input({-1, 4}, {9.9F, 10, 9.75F, 8, -4, -1, -1.01F, -3, 0, 0, 0, 0});
  const ValueId columns = input({-1, 2}, {1, 0, 1, 2, 0, 1}, DType::i32);
  expect(run(Op::sparsemixer, {x, columns}, {{"margin", 0.02}}), {3, 2},
         {1 / (1 + std::exp(-0.1F)), 1 / (1 + std::exp(-0.15F)), 1 / (1 + std::exp(-0.01F)), 1,
          0.25F, 1 / 3.0F});
  expect(run(Op::sparsemixer, {x, columns}, {{"margin", 0.0}}), {3, 2},
         {1, 1, 1, 1, 0.25F, 1 / 3.0F});
}

TEST_F(OpTest, GatherOfAColumnThatIsNotThere) {
  const ValueId x = input({-1, 3}, {1, 2, 3});
  b.add(Op::gather, {x, input({-1, 1}, {3}, DType::i32)});
  EXPECT_EQ(error(), "[gather] column 3 is not among the 3");
}

TEST_F(OpTest, WeightedSumOverChoices) {
  tokens = 2;
  const ValueId x = input({-1, 2, 3}, {1, 2, 3, 4, 5, 6, 1, 0, 0, 0, 1, 0});
  const ValueId w = input({-1, 2}, {1, 0.5, 2, -1});
  expect(run(Op::weighted_sum, {x, w}), {2, 3}, {3, 4.5, 6, 2, -1, 0});
}

TEST_F(OpTest, MatmulDecodesRows) {
  tokens = 2;
  expect(run(Op::matmul, {input({-1, 4}, {1, 2, 3, 4, 0, 0, 1, 0}), quantized()}), {2, 2},
         {24, 15.5, 2, 1});
}

TEST_F(OpTest, MatmulOfADequantizedWeightIsTheSame) {
  const ValueId w = b.add(Op::dequantize, {quantized()});
  expect(run(Op::matmul, {input({-1, 4}, {1, 2, 3, 4}), w}), {1, 2}, {24, 15.5});
}

TEST_F(OpTest, DequantizeHoldsNoMatrix) {
  const ValueId w = b.add(Op::dequantize, {quantized()});
  const auto out = interpret_nodes(b.module(), b.module().nodes, source, values, 1, 1, state);
  ASSERT_TRUE(out.ok());
  EXPECT_FALSE(out->contains(w));
}

TEST_F(OpTest, MatmulReadsSourcesOneAfterAnother) {
  source.dense("a", {1, 2}, {1, 2});
  source.dense("b", {2, 2}, {3, 4, 5, 6});
  const ValueId w = b.weight("ab", {{3, 2}, {}}, {{"a", "b"}, {}});
  expect(run(Op::matmul, {input({-1, 2}, {1, 10}), w}), {1, 3}, {21, 43, 65});
}

TEST_F(OpTest, MatmulOfManyRowsIsSplitOverThreads) {
  std::vector<float> data, expected;
  for (int i = 0; i < 201; ++i) {
    data.insert(data.end(), {static_cast<float>(i), 1});
    expected.push_back(static_cast<float>(2 * i + 3));
  }
  expect(run(Op::matmul, {input({-1, 2}, {2, 3}), dense("w", {201, 2}, data)}), {1, 201}, expected);
}

TEST_F(OpTest, VectorsReadSourcesOneAfterAnother) {
  source.dense("a", {1}, {1});
  source.dense("b", {2}, {2, 3});
  const ValueId w = b.weight("ab", {{3}, {}}, {{"a", "b"}, {}});
  expect(run(Op::add, {input({-1, 3}, {10, 20, 30}), w}), {1, 3}, {11, 22, 33});
}

TEST_F(OpTest, EmbedTakesRows) {
  tokens = 3;
  expect(run(Op::embed, {input({-1}, {1, 0, 1}, DType::i32), quantized()}), {3, 4},
         {1.5, 1.5, 1, 2, 0, 1, 2, 4, 1.5, 1.5, 1, 2});
}

TEST_F(OpTest, EmbedRefusesTokensOutsideTheTable) {
  b.set_label("embed_tokens");
  b.add(Op::embed, {input({-1}, {2}, DType::i32), quantized()});
  EXPECT_EQ(error(), "[embed] token 2 is not in the table's 0..1 (in embed_tokens)");
}

TEST_F(OpTest, EmbedTakesTheFirstRowForTokensBeyondTheTable) {
  tokens = 3;
  expect(
      run(Op::embed, {input({-1}, {2, 1, 90}, DType::i32), quantized()}, {{"first_beyond", true}}),
      {3, 4}, {0, 1, 2, 4, 1.5, 1.5, 1, 2, 0, 1, 2, 4});
}

TEST_F(OpTest, AddAndMulWorkOnTensorsAndRows) {
  tokens = 2;
  const ValueId x = input({-1, 2}, {1, 2, 3, 4});
  const ValueId y = input({-1, 2}, {10, 20, 30, 40});
  const ValueId w = dense("w", {2}, {5, 7});
  expect(run(Op::add, {x, y}), {2, 2}, {11, 22, 33, 44});
  expect(run(Op::mul, {x, y}), {2, 2}, {10, 40, 90, 160});
  expect(run(Op::add, {x, w}), {2, 2}, {6, 9, 8, 11});
  expect(run(Op::mul, {x, w}), {2, 2}, {5, 14, 15, 28});
}

TEST_F(OpTest, Activations) {
  const ValueId x = input({-1, 4}, {0, 1, -2, 3});
  expect(run(Op::silu, {x}), {1, 4}, {0, 0.7310586F, -0.2384058F, 2.8577223F});
  expect(run(Op::sigmoid, {x}), {1, 4}, {0.5F, 0.7310586F, 0.1192029F, 0.9525741F});
  expect(run(Op::relu2, {x}), {1, 4}, {0, 1, 0, 9});
  expect(run(Op::gelu, {x}), {1, 4}, {0, 0.8411920F, -0.0454023F, 2.9963627F});
  expect(run(Op::gelu_erf, {x}), {1, 4}, {0, 0.8413447F, -0.0455003F, 2.9959503F});
}

TEST_F(OpTest, RmsNormOfRows) {
  const ValueId x = input({-1, 2}, {3, 4});
  const ValueId w = dense("w", {2}, {1, 2});
  expect(run(Op::rms_norm, {x, w}, {{"eps", 0.0}}), {1, 2}, {0.8485281F, 2.2627417F});
  // mean(x^2) + eps = 12.5 + 3.5 = 16
  expect(run(Op::rms_norm, {x, w}, {{"eps", 3.5}}), {1, 2}, {0.75F, 2});
  expect(run(Op::rms_norm, {x}, {{"eps", 3.5}}), {1, 2}, {0.75F, 1});
}

TEST_F(OpTest, RotateTransformsBlocks) {
  const ValueId x = input({-1, 8}, {1, 2, 3, 4, -1, 0, 2, 1});
  const ValueId signs = dense("signs", {8}, {1, -1, 1, 1, -1, 1, 1, -1});
  const Attributes block = {{"block", int64_t{4}}};
  expect(run(Op::rotate, {x, signs}, block), {1, 8}, {3, 1, -4, 2, 1, 2, 0, -1});
  // It is orthogonal: the product of both sides rotated is that of neither.
  const ValueId row = input({-1, 4}, {1, 0, -1, 1});
  const ValueId first = dense("first", {4}, {1, -1, 1, 1});
  expect(run(Op::rotate, {row, first}, {{"block", int64_t{4}}, {"inverse", true}}), {1, 4},
         {0.5, 0.5, 0.5, 1.5});
  expect(run(Op::rotate, {input({-1, 4}, {1, 2, 3, 4})}, block), {1, 4}, {5, -1, -2, 0});
  // Pairs; heads have blocks of their own.
  expect(run(Op::rotate, {input({-1, 2, 2}, {1, 1, 3, 1})}, {{"block", int64_t{2}}}), {1, 2, 2},
         {1.4142135F, 0, 2.828427F, 1.4142135F});
}

TEST_F(OpTest, RmsNormOfHeadsNormalisesEachAlone) {
  const ValueId x = input({-1, 2, 2}, {3, 4, 30, -40});
  const ValueId w = dense("w", {2}, {1, 2});
  expect(run(Op::rms_norm, {x, w}, {{"eps", 0.0}}), {1, 2, 2},
         {0.8485281F, 2.2627417F, 0.8485281F, -2.2627417F});
}

TEST_F(OpTest, HyperbolicTangentExpAndSoftplus) {
  const ValueId x = input({-1, 4}, {0, 1, -2, 0.001F});
  expect(run(Op::tanh, {x}), {1, 4}, {0, 0.7615942F, -0.9640276F, 0.001F});
  expect(run(Op::exp, {x}), {1, 4}, {1, 2.7182818F, 0.1353353F, 1.0010005F});
  expect(run(Op::softplus, {x}), {1, 4}, {0.6931472F, 1.3132617F, 0.1269280F, 0.6936473F});
  // e^100 overflows a float; softplus is x from far below on.
  const ValueId large = input({-1, 3}, {100, -100, 90});
  EXPECT_EQ(run(Op::softplus, {large}).data, (std::vector<float>{100, 3.7835063e-44F, 90}));
  EXPECT_EQ(run(Op::tanh, {large}).data, (std::vector<float>{1, -1, 1}));
  EXPECT_EQ(run(Op::exp, {large}).data[0], std::numeric_limits<float>::infinity());
}

TEST_F(OpTest, DivisionAndSquareRoot) {
  tokens = 2;
  const ValueId x = input({-1, 2}, {1, -3, 8, 0});
  const ValueId w = dense("w", {2}, {2, 4});
  const ValueId w2 = input({-1, 2}, {2, 3, 4, 5});
  expect(run(Op::div, {x, w}), {2, 2}, {0.5, -0.75, 4, 0});
  EXPECT_EQ(run(Op::div, {w2, x}).data,
            (std::vector<float>{2, -1, 0.5, std::numeric_limits<float>::infinity()}));
  expect(run(Op::sqrt, {input({-1, 2}, {4, 0, 2, 0.25F})}), {2, 2}, {2, 0, 1.4142135F, 0.5});
  EXPECT_TRUE(std::isnan(run(Op::sqrt, {x}).data[1]));
}

// Of a row, and of each head.
TEST_F(OpTest, MeanStandsInThePlaceOfEveryElement) {
  tokens = 2;
  expect(run(Op::mean, {input({-1, 3}, {1, 2, 6, -1, 1, 0})}), {2, 3}, {3, 3, 3, 0, 0, 0});
  expect(run(Op::mean, {input({-1, 2, 2}, {1, 2, 6, -1, 1, 0, 4, 4})}), {2, 2, 2},
         {1.5, 1.5, 2.5, 2.5, 0.5, 0.5, 4, 4});
}

TEST_F(OpTest, ClampBoundsOnTheSidesThatAreGiven) {
  const ValueId x = input({-1, 4}, {-9, -1, 2, 9});
  expect(run(Op::clamp, {x}, {{"min", -7.0}, {"max", int64_t{7}}}), {1, 4}, {-7, -1, 2, 7});
  expect(run(Op::clamp, {x}, {{"max", 7.0}}), {1, 4}, {-9, -1, 2, 7});
  expect(run(Op::clamp, {x}, {{"min", -7.0}}), {1, 4}, {-7, -1, 2, 9});
  expect(run(Op::clamp, {x}), {1, 4}, {-9, -1, 2, 9});
  const ValueId nothing = input({-1, 1}, {std::numeric_limits<float>::quiet_NaN()});
  EXPECT_TRUE(std::isnan(run(Op::clamp, {nothing}, {{"min", 0.0}, {"max", 1.0}}).data[0]));
}

TEST_F(OpTest, ExpandRepeatsAColumn) {
  tokens = 2;
  const ValueId x = input({-1, 1}, {-9, 2});
  expect(run(Op::expand, {x}, {{"width", int64_t{3}}}), {2, 3}, {-9, -9, -9, 2, 2, 2});
}

TEST_F(OpTest, GatherRowsTakesThoseOfExperts) {
  const ValueId experts = input({-1, 2}, {2, 0}, DType::i32);
  const ValueId rows = dense("rows", {6}, {1, 2, 3, 4, 5, 6});
  expect(run(Op::gather_rows, {experts, rows}, {{"width", int64_t{2}}}), {1, 2, 2}, {5, 6, 1, 2});
}

TEST_F(OpTest, AffineScalesThenAdds) {
  const ValueId x = input({-1, 3}, {-9, 0, 2});
  expect(run(Op::affine, {x}, {{"scale", 0.5}, {"offset", int64_t{1}}}), {1, 3}, {-3.5F, 1, 2});
  expect(run(Op::affine, {x}), {1, 3}, {-9, 0, 2});
}

// Means 3 and 20, variances 4 and 100 with eps.
TEST_F(OpTest, LayerNormOfRows) {
  tokens = 2;
  const ValueId x = input({-1, 2}, {1, 5, 10, 30});
  const ValueId w = dense("w", {2}, {1, 2});
  const ValueId bias = dense("b", {2}, {10, -10});
  expect(run(Op::layer_norm, {x, w}, {{"eps", 0.0}}), {2, 2}, {-1, 2, -1, 2});
  expect(run(Op::layer_norm, {x, w, bias}, {{"eps", 0.0}}), {2, 2}, {9, -8, 9, -8});
  // 4 + 12 = 4^2, 100 + 12
  expect(run(Op::layer_norm, {x, w, bias}, {{"eps", 12.0}}), {2, 2},
         {9.5F, -9, 9.0550888F, -8.1101776F});
}

// The numbers are far from 0 beside their spread.
TEST_F(OpTest, LayerNormDoesNotCancel) {
  const ValueId x = input({-1, 4}, {100000, 100001, 100002, 100003});
  const ValueId w = dense("w", {4}, {1, 1, 1, 1});
  expect(run(Op::layer_norm, {x, w}, {{"eps", 0.0}}), {1, 4},
         {-1.3416408F, -0.4472136F, 0.4472136F, 1.3416408F});
}

TEST_F(OpTest, L2NormOfRowsAndHeads) {
  expect(run(Op::l2_norm, {input({-1, 2}, {3, 4})}, {{"eps", 0.0}}), {1, 2}, {0.6F, 0.8F});
  // 3^2 + 4^2 + 75 = 10^2, 30^2 + 40^2 + 75 = 2575
  expect(run(Op::l2_norm, {input({-1, 2, 2}, {3, 4, 30, -40})}, {{"eps", 75.0}}), {1, 2, 2},
         {0.3F, 0.4F, 0.5911975F, -0.7882633F});
}

// Logarithms of 1, 3 and 4, on their own and 1000 higher.
TEST_F(OpTest, SoftmaxOfRows) {
  tokens = 2;
  const auto log3 = static_cast<float>(std::log(3.0));
  const auto log4 = static_cast<float>(std::log(4.0));
  const Array y = run(Op::softmax, {input({-1, 3}, {0, log3, log4, 1000, 1000, 1000})});
  expect(y, {2, 3}, {0.125F, 0.375F, 0.5F, 1.0F / 3, 1.0F / 3, 1.0F / 3});
  const ValueId heads = input({-1, 1, 2}, {0, log3, -5000, 5000});
  expect(run(Op::softmax, {heads}), {2, 1, 2}, {0.25F, 0.75F, 0, 1});
}

TEST_F(OpTest, ReshapeKeepsTheOrder) {
  tokens = 2;
  const ValueId x = input({-1, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  expect(run(b.reshape(x, {T, 2, 2})), {2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
}

TEST_F(OpTest, SliceTakesFeatures) {
  tokens = 2;
  const ValueId x = input({-1, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  expect(run(Op::slice, {x}, {{"begin", int64_t{1}}, {"end", int64_t{3}}}), {2, 2}, {2, 3, 6, 7});
}

TEST_F(OpTest, LastRowsTakesTheLast) {
  tokens = 3;
  logits_rows = 2;
  expect(run(Op::last_rows, {input({-1, 2}, {1, 2, 3, 4, 5, 6})}), {2, 2}, {3, 4, 5, 6});
}

TEST_F(OpTest, RopeTableStartsAtThePosition) {
  tokens = 2;
  state.position = 3;
  const ValueId inv_freq = b.weight("f", {{2}, {}}, {{}, {1, 0.5F}});
  const ValueId ids = input({-1}, {7, 7}, DType::i32);
  const auto c = [](double x) { return static_cast<float>(2 * std::cos(x)); };
  const auto s = [](double x) { return static_cast<float>(2 * std::sin(x)); };
  expect(run(Op::rope_table, {inv_freq, ids}, {{"scale", 2.0}}), {2, 4},
         {c(3), c(1.5), s(3), s(1.5), c(4), c(2), s(4), s(2)});
}

// Positions 3 to 6: after (p + 1) / 3 whole periods. The first pair does not turn.
TEST_F(OpTest, RopeTableGrowsWithThePosition) {
  tokens = 4;
  state.position = 3;
  const ValueId inv_freq = b.weight("f", {{1}, {}}, {{}, {0}});
  const ValueId ids = input({-1}, {7, 7, 7, 7}, DType::i32);
  const auto grown = [](double periods) {
    return static_cast<float>(2 * (1 + 0.5 * std::log(1 + periods)));
  };
  expect(run(Op::rope_table, {inv_freq, ids},
             {{"scale", 2.0},
              {"log_scale", 0.5},
              {"log_period", int64_t{3}},
              {"log_offset", int64_t{1}}}),
         {4, 2}, {grown(1), 0, grown(1), 0, grown(2), 0, grown(2), 0});
}

// cos and sin of the pairs are (0, 1) and (-1, 0): a quarter turn and a half turn.
TEST_F(OpTest, RopeRotatesHalves) {
  const ValueId x = input({-1, 1, 6}, {1, 2, 3, 4, 5, 6});
  const ValueId table = input({-1, 4}, {0, -1, 1, 0});
  expect(run(Op::rope, {x, table}), {1, 1, 6}, {-3, -2, 1, -4, 5, 6});
}

TEST_F(OpTest, RopeRotatesNeighbours) {
  const ValueId x = input({-1, 1, 6}, {1, 2, 3, 4, 5, 6});
  const ValueId table = input({-1, 4}, {0, -1, 1, 0});
  expect(run(Op::rope, {x, table}, {{"style", std::string("interleaved")}}), {1, 1, 6},
         {-2, 1, -3, -4, 5, 6});
}

TEST_F(OpTest, RopeRotatesFromAFeatureOn) {
  const ValueId x = input({-1, 1, 6}, {1, 2, 3, 4, 5, 6});
  const ValueId table = input({-1, 4}, {0, -1, 1, 0});
  expect(run(Op::rope, {x, table}, {{"begin", int64_t{1}}}), {1, 1, 6}, {1, -4, -3, 2, -5, 6});
}

TEST_F(OpTest, RopeUsesTheTokensRowForAllItsHeads) {
  tokens = 2;
  const ValueId x = input({-1, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  const ValueId table = input({-1, 2}, {1, 0, 0, 1});
  expect(run(Op::rope, {x, table}), {2, 2, 2}, {1, 2, 3, 4, -6, 5, -8, 7});
}

// Keys are logarithms and head 0's queries are 1, so that its weights are proportional to 1, 3, 4;
// head 1's queries are 0, so that its weights are equal. Heads 0 and 1 share KV head 0.
TEST_F(OpTest, AttentionSharesKvHeadsAndRemembersSteps) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f32, {2, Dim::of('C'), 1}}});
  const ValueId v = b.state("v", {StateKind::paged, {DType::f32, {2, Dim::of('C'), 1}}});
  const ValueId new_k = b.param("new_k", {DType::f32, {T, 2, 1}});
  const ValueId new_v = b.param("new_v", {DType::f32, {T, 2, 1}});
  const ValueId q = b.param("q", {DType::f32, {T, 4, 1}});
  b.add(Op::kv_append, {k, new_k});
  b.add(Op::kv_append, {v, new_v});
  const ValueId out = b.add(Op::attention, {q, k, v}, {{"scale", 2.0}});

  values = {
      {new_k, {{1, 2, 1}, {0, 0}}}, {new_v, {{1, 2, 1}, {10, 1}}}, {q, {{1, 4, 1}, {1, 0, 0, 0}}}};
  expect(run(out), {1, 4}, {10, 10, 1, 1});

  state.position = 1;
  tokens = 2;
  // The scale doubles the scores.
  const float log3 = static_cast<float>(std::log(3.0) / 2);
  const float log4 = static_cast<float>(std::log(4.0) / 2);
  values = {{new_k, {{2, 2, 1}, {log3, 0, log4, 0}}},
            {new_v, {{2, 2, 1}, {20, 2, 40, 6}}},
            {q, {{2, 4, 1}, {1, 0, 5, 0, 1, 0, 5, 0}}}};
  expect(run(out), {2, 4}, {17.5F, 15, 1.5F, 1.5F, 28.75F, 70.0F / 3, 3, 3});
  EXPECT_EQ(state.states.at(k).shape, (std::vector<int64_t>{2, 3, 1}));
  expect(state.states.at(v), {2, 3, 1}, {10, 20, 40, 1, 2, 6});
}

// The result has the width of values; scores are those of all features of the keys.
TEST_F(OpTest, AttentionGivesValuesWiderThanKeys) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 2}}});
  const ValueId v = b.state("v", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 3}}});
  const ValueId new_k = b.param("new_k", {DType::f32, {T, 1, 2}});
  const ValueId new_v = b.param("new_v", {DType::f32, {T, 1, 3}});
  const ValueId q = b.param("q", {DType::f32, {T, 2, 2}});
  b.add(Op::kv_append, {k, new_k});
  b.add(Op::kv_append, {v, new_v});
  const ValueId out = b.add(Op::attention, {q, k, v}, {{"scale", 1.0}});
  tokens = 2;
  const float log3 = static_cast<float>(std::log(3.0));
  values = {{new_k, {{2, 1, 2}, {0, 0, 0, log3}}},
            {new_v, {{2, 1, 3}, {1, 2, 4, 5, 6, 8}}},
            {q, {{2, 2, 2}, {1, 1, 1, 0, 1, 1, 1, 0}}}};
  expect(run(out), {2, 6}, {1, 2, 4, 1, 2, 4, 4, 5, 7, 3, 4, 6});
}

// Three positions, each row sees its own and the one before; equal weights.
TEST_F(OpTest, AttentionSeesAWindow) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 1}}});
  const ValueId new_k = b.param("new_k", {DType::f32, {T, 1, 1}});
  const ValueId q = b.param("q", {DType::f32, {T, 1, 1}});
  b.add(Op::kv_append, {k, new_k});
  const ValueId out = b.add(Op::attention, {q, k, k}, {{"scale", 0.0}, {"window", int64_t{2}}});
  tokens = 3;
  values = {{new_k, {{3, 1, 1}, {1, 3, 9}}}, {q, {{3, 1, 1}, {1, 1, 1}}}};
  expect(run(out), {3, 1}, {1, 2, 6});
  state.position = 3;
  tokens = 1;
  values = {{new_k, {{1, 1, 1}, {11}}}, {q, {{1, 1, 1}, {1}}}};
  expect(run(out), {1, 1}, {10});
}

// Five positions in chunks of two; equal weights.
TEST_F(OpTest, AttentionSeesItsChunk) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 1}}});
  const ValueId new_k = b.param("new_k", {DType::f32, {T, 1, 1}});
  const ValueId q = b.param("q", {DType::f32, {T, 1, 1}});
  b.add(Op::kv_append, {k, new_k});
  const ValueId out = b.add(Op::attention, {q, k, k}, {{"scale", 0.0}, {"chunk", int64_t{2}}});
  tokens = 5;
  values = {{new_k, {{5, 1, 1}, {1, 3, 9, 11, 40}}}, {q, {{5, 1, 1}, {1, 1, 1, 1, 1}}}};
  expect(run(out), {5, 1}, {1, 2, 9, 10, 40});
}

// Equal scores: the sink of head 0 weighs as much as a position, that of head 1 twice as much. It
// is not scaled.
TEST_F(OpTest, AttentionLosesWeightToSinks) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 1}}});
  const ValueId new_k = b.param("new_k", {DType::f32, {T, 1, 1}});
  const ValueId q = b.param("q", {DType::f32, {T, 2, 1}});
  const ValueId sinks = b.weight("sinks", {{2}, {}}, {{}, {0, static_cast<float>(std::log(2.0))}});
  b.add(Op::kv_append, {k, new_k});
  const ValueId out = b.add(Op::attention, {q, k, k, sinks}, {{"scale", 0.0}});
  tokens = 2;
  values = {{new_k, {{2, 1, 1}, {12, 36}}}, {q, {{2, 2, 1}, {1, 1, 1, 1}}}};
  expect(run(out), {2, 2}, {6, 4, 16, 12});
}

// The score of the second key, 3, becomes 2 tanh(3 / 2).
TEST_F(OpTest, AttentionCapsScores) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 1}}});
  const ValueId v = b.state("v", {StateKind::paged, {DType::f32, {1, Dim::of('C'), 1}}});
  const ValueId new_k = b.param("new_k", {DType::f32, {T, 1, 1}});
  const ValueId new_v = b.param("new_v", {DType::f32, {T, 1, 1}});
  const ValueId q = b.param("q", {DType::f32, {T, 1, 1}});
  b.add(Op::kv_append, {k, new_k});
  b.add(Op::kv_append, {v, new_v});
  const ValueId out = b.add(Op::attention, {q, k, v}, {{"scale", 0.5}, {"softcap", 2.0}});
  tokens = 2;
  values = {{new_k, {{2, 1, 1}, {0, 6}}}, {new_v, {{2, 1, 1}, {0, 1}}}, {q, {{2, 1, 1}, {1, 1}}}};
  const double weight = std::exp(2 * std::tanh(1.5));
  expect(run(out), {2, 1}, {0, static_cast<float>(weight / (1 + weight))});
}

// The last tap multiplies the newest input; what was before the step is remembered, however the
// steps are cut.
TEST_F(OpTest, ShortConvRemembersTheInputsBefore) {
  const ValueId taps = b.weight("taps", {{2, 3}, {}}, {{}, {100, 10, 1, 0, 0.5F, -1}});
  const ValueId before = b.state("before", {StateKind::fixed, {DType::f32, {2, 2}}});
  const ValueId in = b.param("in", {DType::f32, {T, 2}});
  const ValueId out = b.add(Op::short_conv, {in, taps, before});
  values = {{in, {{1, 2}, {1, 2}}}};
  expect(run(out), {1, 2}, {1, -2});
  expect(state.states.at(before), {2, 2}, {0, 0, 1, 2});
  tokens = 4;
  values = {{in, {{4, 2}, {2, 4, 3, 6, 4, 8, 5, 10}}}};
  expect(run(out), {4, 2}, {12, -3, 123, -4, 234, -5, 345, -6});
  expect(state.states.at(before), {2, 2}, {4, 8, 5, 10});
  tokens = 1;
  values = {{in, {{1, 2}, {6, 12}}}};
  expect(run(out), {1, 2}, {456, -7});
}

TEST_F(OpTest, ShortConvRefusesAStateOfAnotherShape) {
  const ValueId taps = b.weight("taps", {{2, 3}, {}}, {{}, {1, 2, 3, 4, 5, 6}});
  const ValueId before = b.state("before", {StateKind::fixed, {DType::f32, {2, 2}}});
  b.add(Op::short_conv, {input({-1, 2}, {1, 2}), taps, before});
  state.states[before] = {{1, 2}, {0, 0}};
  EXPECT_EQ(error(), "the state @before, state<2x2, fixed f32>, has the shape [1, 2]");
}

// Two rows in a step, and again each in one of its own: the numbers follow from the equations.
TEST_F(OpTest, DeltaRuleUpdatesItsStateRowByRow) {
  const float r = std::sqrt(0.5F);
  const std::vector<float> q = {0.6F * r, 0.8F * r, 0.6F * r, 0.8F * r};
  const std::vector<float> k = {1, 0, 0.6F, 0.8F};
  const std::vector<float> v = {2, -1, 1, 1};
  const ValueId s = b.state("s", {StateKind::fixed, {DType::f32, {1, 2, 2}}});
  const auto heads = [&](const char* name) { return b.param(name, {DType::f32, {T, 1, 2}}); };
  const ValueId in_q = heads("q");
  const ValueId in_k = heads("k");
  const ValueId in_v = heads("v");
  const ValueId log_decay = b.param("g", {DType::f32, {T, 1}});
  const ValueId beta = b.param("beta", {DType::f32, {T, 1}});
  const ValueId out = b.add(Op::delta_rule, {in_q, in_k, in_v, log_decay, beta, s});
  const std::vector<float> y = {0.42426407F, -0.21213203F, 0.45961941F, 0.30052038F};
  const std::vector<float> left = {0.71F, 0.28F, 0.095F, 0.46F};
  const float half = std::log(0.5F);
  tokens = 2;
  values = {{in_q, {{2, 1, 2}, q}},
            {in_k, {{2, 1, 2}, k}},
            {in_v, {{2, 1, 2}, v}},
            {log_decay, {{2, 1}, {half, half}}},
            {beta, {{2, 1}, {0.5F, 0.5F}}}};
  expect(run(out), {2, 1, 2}, y);
  expect(state.states.at(s), {1, 2, 2}, left);
  state.states.clear();
  tokens = 1;
  for (const ptrdiff_t t : {0, 1}) {
    const auto row = [t](const std::vector<float>& all) {
      return Array{{1, 1, 2}, {all.begin() + 2 * t, all.begin() + 2 * t + 2}};
    };
    values = {{in_q, row(q)},
              {in_k, row(k)},
              {in_v, row(v)},
              {log_decay, {{1, 1}, {half}}},
              {beta, {{1, 1}, {0.5F}}}};
    expect(run(out), {1, 1, 2}, row(y).data);
  }
  expect(state.states.at(s), {1, 2, 2}, left);
}

// Two heads of v share one of k, and a decay may be of every feature of a key.
TEST_F(OpTest, DeltaRuleSharesKeysAndDecaysFeatures) {
  const ValueId s = b.state("s", {StateKind::fixed, {DType::f32, {2, 1, 2}}});
  state.states[s] = {{2, 1, 2}, {8, 4, 2, 1}};
  const ValueId q = input({-1, 1, 2}, {1, 10});
  const ValueId k = input({-1, 1, 2}, {0, 1});
  const ValueId v = input({-1, 2, 1}, {3, 5});
  const ValueId beta = input({-1, 2}, {1, 0.5F});
  const float half = std::log(0.5F);
  const ValueId gates = input({-1, 2, 2}, {half, 0, 0, half});
  // S = [4 4], [2 0.5]; v - S k = -1, 4.5; S = [4 3], [2 2.75].
  expect(run(Op::delta_rule, {q, k, v, gates, beta, s}), {1, 2, 1}, {34, 29.5F});
  expect(state.states.at(s), {2, 1, 2}, {4, 3, 2, 2.75F});
}

// Two rows in a step, and again each in one of its own. Two heads share b and c; numbers follow
// from the equations.
TEST_F(OpTest, SelectiveScanUpdatesItsStateRowByRow) {
  const float log_half = std::log(0.5F);
  const ValueId a = b.weight("a", {{2}, {}}, {{}, {log_half, 0}});
  const ValueId d = b.weight("d", {{2}, {}}, {{}, {10, 100}});
  const ValueId s = b.state("s", {StateKind::fixed, {DType::f32, {2, 1, 2}}});
  const ValueId x = b.param("x", {DType::f32, {T, 2, 1}});
  const ValueId in_b = b.param("b", {DType::f32, {T, 1, 2}});
  const ValueId in_c = b.param("c", {DType::f32, {T, 1, 2}});
  const ValueId dt = b.param("dt", {DType::f32, {T, 2}});
  const ValueId out = b.add(Op::selective_scan, {x, a, in_b, in_c, s, dt, d});
  const std::vector<float> inputs = {1, 2, 3, 4};
  const std::vector<float> to = {1, 2, 0, 1};
  const std::vector<float> from = {1, 1, 2, 1};
  const std::vector<float> steps = {1, 0.5F, 2, 3};
  // S = [1 2], [1 2]; then 1/4 [1 2] + 6 [0 1], [1 2] + 12 [0 1].
  const std::vector<float> y = {13, 203, 0.5F + 6.5F + 30, 2 + 14 + 400};
  const std::vector<float> left = {0.25F, 6.5F, 1, 14};
  tokens = 2;
  values = {{x, {{2, 2, 1}, inputs}},
            {in_b, {{2, 1, 2}, to}},
            {in_c, {{2, 1, 2}, from}},
            {dt, {{2, 2}, steps}}};
  expect(run(out), {2, 2, 1}, y);
  expect(state.states.at(s), {2, 1, 2}, left);
  state.states.clear();
  tokens = 1;
  for (const ptrdiff_t t : {0, 1}) {
    const auto row = [t](const std::vector<float>& all) {
      return std::vector<float>{all.begin() + 2 * t, all.begin() + 2 * t + 2};
    };
    values = {{x, {{1, 2, 1}, row(inputs)}},
              {in_b, {{1, 1, 2}, row(to)}},
              {in_c, {{1, 1, 2}, row(from)}},
              {dt, {{1, 2}, row(steps)}}};
    expect(run(out), {1, 2, 1}, row(y));
  }
  expect(state.states.at(s), {2, 1, 2}, left);
}

// A decay of every column, a group for each head, and neither dt nor d.
TEST_F(OpTest, SelectiveScanDecaysColumns) {
  const float log_half = std::log(0.5F);
  const ValueId a = b.weight("a", {{4}, {}}, {{}, {log_half, 0, 0, log_half}});
  const ValueId s = b.state("s", {StateKind::fixed, {DType::f32, {2, 1, 2}}});
  state.states[s] = {{2, 1, 2}, {8, 4, 2, 1}};
  const ValueId x = input({-1, 2, 1}, {1, 2});
  const ValueId in_b = input({-1, 2, 2}, {1, 2, 3, 4});
  const ValueId in_c = input({-1, 2, 2}, {1, 10, 1, 0});
  // S = [4 4] + [1 2], [2 0.5] + 2 [3 4].
  expect(run(Op::selective_scan, {x, a, in_b, in_c, s}), {1, 2, 1}, {65, 8});
  expect(state.states.at(s), {2, 1, 2}, {5, 6, 8, 8.5F});
}

TEST_F(OpTest, AttentionRefusesCachesThatLackTheStep) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f16, {1, Dim::of('C'), 1}}});
  b.add(Op::attention, {input({-1, 1, 1}, {1}), k, k}, {{"scale", 1.0}});
  EXPECT_EQ(error(), "[attention] the cache has 0 rows, the step needs 1; append to it first");
}

TEST_F(OpTest, KvAppendRefusesGapsAndFullCaches) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f16, {1, 4, 1}}});
  b.add(Op::kv_append, {k, input({-1, 1, 1}, {1})});
  state.position = 1;
  EXPECT_EQ(error(), "[kv_append] the cache has 0 rows at position 1");
  state.position = 4;
  EXPECT_EQ(error(), "the state @k holds 4 rows, the step needs 5");
}

TEST_F(OpTest, KvAppendOverwritesWhatIsBehindThePosition) {
  const ValueId k = b.state("k", {StateKind::paged, {DType::f16, {1, Dim::of('C'), 1}}});
  b.add(Op::kv_append, {k, input({-1, 1, 1}, {9})});
  state.states[k] = {{1, 3, 1}, {1, 2, 3}};
  state.position = 1;
  EXPECT_EQ(error(), "");
  expect(state.states.at(k), {1, 2, 1}, {1, 9});
}

TEST_F(OpTest, GivenValuesMustHaveTheirShape) {
  b.add(Op::silu, {input({-1, 2}, {1, 2, 3})});
  EXPECT_EQ(error(), "value 0 is given with shape [1, 2] and 3 elements, it must have [1, 2]");
}

TEST_F(OpTest, SourcesMustMakeTheWeight) {
  const ValueId x = input({-1, 2}, {1, 2});
  source.dense("wide", {1, 3}, {1, 2, 3});
  source.dense("good", {1, 2}, {1, 2});
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{"none"}, "no matrix none"},
      {{"wide"},
       "weight @w, weight<2x2, f32>: source wide is weight<1x3, f32>; it must have 2 columns"},
      {{"good"}, "weight @w, weight<2x2, f32>: its sources have 1 rows together, it needs 2"},
  };
  for (const auto& [sources, expected] : cases) {
    Module module = b.module();
    Node node;
    node.op = Op::matmul;
    node.operands = {x, module.add_weight("w", {{2, 2}, {}}, {sources, {}})};
    node.results = {module.add_value({ValueKind::result, TensorType{DType::f32, {T, 2}}, ""})};
    EXPECT_EQ(message(interpret_nodes(module, {node}, source, values, 1, 1, state).status()),
              expected);
  }
}

TEST_F(OpTest, TruncatedSourcesAreRefused) {
  const WeightType type{{2, 4}, {CodeMap::affine, 2, 2, 0, DType::f16}};
  source.affine("q", type, {0xE4, 0x4F}, {0x3C00, 0x4000, 0x3800, 0x3C00}, {0x0000});
  b.add(Op::matmul, {input({-1, 4}, {1, 2, 3, 4}), b.weight("q", type, {{"q"}, {}})});
  EXPECT_EQ(
      error(),
      "weight @q, weight<2x4, affine b2 g2 f16>: source q, weight<2x4, affine b2 g2 f16>, has "
      "fewer bytes than its type needs");
}

}  // namespace
}  // namespace sinter::ir
