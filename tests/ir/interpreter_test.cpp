// Whole modules, step by step.
#include "ir/interpreter.h"

#include <gtest/gtest.h>

#include "ir/text.h"
#include "tests/ir/map_source.h"

namespace sinter::ir {
namespace {

constexpr const char* kPlain = R"(module @tiny {
  weight @embed : weight<5x4, f32> = source("embed")
  weight @norm : weight<4, f32> = source("norm")
  weight @head : weight<5x4, f32> = source("embed")
  weight @q : weight<4x4, f32> = source("q")
  weight @k : weight<2x4, f32> = source("k")
  weight @f : weight<1, f32> = constant(0.7)
  state @cache.k : state<1xCx2, paged f16>
  state @cache.v : state<1xCx2, paged f16>
  func @forward(%tokens: tensor<Txi32>) {
    %0 = embed %tokens, @embed : tensor<Tx4xf32>
    %1 = rope_table @f, %tokens : tensor<Tx2xf32>
    %2 = rms_norm %0, @norm {eps = 1e-05} : tensor<Tx4xf32>
    %3 = dequantize @q : tensor<4x4xf32>
    %4 = matmul %2, %3 : tensor<Tx4xf32>
    %5 = reshape %4 : tensor<Tx2x2xf32>
    %6 = rope %5, %1 : tensor<Tx2x2xf32>
    %7 = matmul %2, @k : tensor<Tx2xf32>
    %8 = reshape %7 : tensor<Tx1x2xf32>
    %9 = rope %8, %1 : tensor<Tx1x2xf32>
    kv_append @cache.k, %9
    kv_append @cache.v, %8
    %10 = attention %6, @cache.k, @cache.v {scale = 0.7} : tensor<Tx4xf32>
    %11 = add %0, %10 : tensor<Tx4xf32>
    %12 = last_rows %11 : tensor<Lx4xf32>
    %13 = matmul %12, @head : tensor<Lx5xf32>
    return %13
  }
}
)";

constexpr const char* kFused = R"(module @tiny {
  weight @embed : weight<5x4, f32> = source("embed")
  weight @norm : weight<4, f32> = source("norm")
  weight @head : weight<5x4, f32> = source("embed")
  weight @qk : weight<6x4, f32> = source("q", "k")
  weight @f : weight<1, f32> = constant(0.7)
  state @cache.k : state<1xCx2, paged f16>
  state @cache.v : state<1xCx2, paged f16>
  func @forward(%tokens: tensor<Txi32>) {
    %0 = embed %tokens, @embed : tensor<Tx4xf32>
    %1 = rope_table @f, %tokens : tensor<Tx2xf32>
    %6 = fused {kind = "matmul"} {
      %2 = rms_norm %0, @norm {eps = 1e-05} : tensor<Tx4xf32>
      %3 = matmul %2, @qk : tensor<Tx6xf32>
      %4 = slice %3 {begin = 0, end = 4} : tensor<Tx4xf32>
      %5 = reshape %4 : tensor<Tx2x2xf32>
      %6 = rope %5, %1 : tensor<Tx2x2xf32>
      %7 = slice %3 {begin = 4, end = 6} : tensor<Tx2xf32>
      %8 = reshape %7 : tensor<Tx1x2xf32>
      %9 = rope %8, %1 : tensor<Tx1x2xf32>
      kv_append @cache.k, %9
      kv_append @cache.v, %8
    } : tensor<Tx2x2xf32>
    %11 = fused {kind = "attention"} {
      %10 = attention %6, @cache.k, @cache.v {scale = 0.7} : tensor<Tx4xf32>
      %11 = add %0, %10 : tensor<Tx4xf32>
    } : tensor<Tx4xf32>
    %12 = last_rows %11 : tensor<Lx4xf32>
    %13 = matmul %12, @head : tensor<Lx5xf32>
    return %13
  }
}
)";

class Interpreter : public testing::Test {
 protected:
  Interpreter() {
    source.dense("embed", {5, 4},
                 {1, 2, 0, -1, .5F, 1, 2, 0, -1, 3, 1, 1, 0, 0, 2, 5, 1, 1, 1, -2});
    source.dense("norm", {4}, {1, .5F, 2, 1});
    source.dense("q", {4, 4}, {1, 0, 2, 1, 0, 1, 1, -1, 3, 1, 0, 0, 1, 1, 1, 1});
    source.dense("k", {2, 4}, {1, -1, 0, 2, 0, 1, 1, 0});
  }

  Array step(const Module& module, std::vector<int32_t> tokens, int64_t rows,
             InterpreterState& state) {
    const auto out = interpret(module, source, {std::move(tokens), rows}, state);
    EXPECT_TRUE(out.ok()) << out.status();
    return out.ok() ? *out : Array{};
  }

  MapSource source;
  Module plain = *parse(kPlain, "plain");
};

TEST_F(Interpreter, StepsGiveWhatOnePassGives) {
  InterpreterState whole, stepped;
  const Array all = step(plain, {0, 3, 2, 4}, 4, whole);
  ASSERT_EQ(all.shape, (std::vector<int64_t>{4, 5}));
  EXPECT_EQ(whole.position, 4);

  const Array first = step(plain, {0, 3}, 2, stepped);
  const Array third = step(plain, {2}, 1, stepped);
  const Array fourth = step(plain, {4}, 1, stepped);
  EXPECT_EQ(stepped.position, 4);
  std::vector<float> joined = first.data;
  joined.insert(joined.end(), third.data.begin(), third.data.end());
  joined.insert(joined.end(), fourth.data.begin(), fourth.data.end());
  EXPECT_EQ(joined, all.data);
}

TEST_F(Interpreter, PositionsMatter) {
  InterpreterState one, other;
  const Array a = step(plain, {0, 3, 2}, 1, one);
  const Array b = step(plain, {3, 0, 2}, 1, other);
  EXPECT_NE(a.data, b.data);
}

TEST_F(Interpreter, FusedBodiesGiveTheSame) {
  const auto fused = parse(kFused, "fused");
  ASSERT_TRUE(fused.ok()) << fused.status();
  InterpreterState one, other;
  EXPECT_EQ(step(*fused, {0, 3, 2}, 3, one).data, step(plain, {0, 3, 2}, 3, other).data);
  EXPECT_EQ(step(*fused, {1}, 1, one).data, step(plain, {1}, 1, other).data);
}

TEST_F(Interpreter, AFailedStepCanBeRepeated) {
  InterpreterState clean, failed;
  step(plain, {0, 3}, 1, clean);
  step(plain, {0, 3}, 1, failed);
  Module broken = plain;
  broken.weights[broken.find_symbol("head")].sources = {"none"};
  // It fails at the last node, when the caches have grown.
  EXPECT_EQ(message(interpret(broken, source, {{1}, 1}, failed).status()), "no matrix none");
  EXPECT_EQ(failed.states.at(plain.find_symbol("cache.k")).shape[1], 3);
  EXPECT_EQ(failed.position, 2);
  EXPECT_EQ(step(plain, {2}, 1, failed).data, step(plain, {2}, 1, clean).data);
}

TEST_F(Interpreter, RefusesStepsThatCannotBe) {
  InterpreterState state;
  const auto error = [&](std::vector<int32_t> tokens, int64_t rows) {
    return message(interpret(plain, source, {std::move(tokens), rows}, state).status());
  };
  EXPECT_EQ(error({}, 1), "a step of 0 tokens cannot give 1 rows of logits");
  EXPECT_EQ(error({1}, 2), "a step of 1 tokens cannot give 2 rows of logits");
  EXPECT_EQ(error({1}, 0), "a step of 1 tokens cannot give 0 rows of logits");
  EXPECT_EQ(error({-1}, 1), "token -1 is not in 0..2^24-1");
  EXPECT_EQ(error({5}, 1), "[embed] token 5 is not in the table's 0..4");
}

TEST_F(Interpreter, RefusesModulesThatDoNotVerify) {
  InterpreterState state;
  Module bad = plain;
  bad.returns.clear();
  EXPECT_EQ(message(interpret(bad, source, {{1}, 1}, state).status()),
            "the module returns nothing");
}

}  // namespace
}  // namespace sinter::ir
