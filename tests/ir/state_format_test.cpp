#include "ir/state_format.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ir/interpreter.h"
#include "ir/text.h"
#include "ir/verifier.h"
#include "tests/ir/map_source.h"

namespace sinter::ir {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> rounded(DType dtype, std::vector<float> head) {
  round_to(*find_state_format(dtype), head.data(), std::ssize(head));
  return head;
}

TEST(StateFormat, IsFoundByNameAndType) {
  EXPECT_EQ(state_format_names(), "f16, f32, q8, q4");
  for (const StateFormat& format : kStateFormats) {
    EXPECT_EQ(find_state_format(format.dtype), &format);
    EXPECT_EQ(find_state_format(name(format.dtype)), &format);
  }
  EXPECT_EQ(find_state_format("bf16"), nullptr);
  EXPECT_EQ(find_state_format(DType::i32), nullptr);
}

// Heads of 80 features have two scales of 32 features and one of 16; those of 24 are kept as 32.
TEST(StateFormat, TakesBytesForCodesAndScales) {
  const auto bytes = [](DType dtype, int64_t head_dim) {
    return bytes_per_position({dtype, {2, Dim::of('C'), head_dim}});
  };
  EXPECT_EQ(bytes(DType::f16, 80), 2 * 160);
  EXPECT_EQ(bytes(DType::f32, 80), 2 * 320);
  EXPECT_EQ(bytes(DType::q8, 80), 2 * (80 + 3 * 2));
  EXPECT_EQ(bytes(DType::q4, 80), 2 * (40 + 3 * 2));
  EXPECT_EQ(bytes(DType::q4, 24), 2 * (16 + 2));
}

TEST(StateFormat, RoundsToFloat16AsHardwareDoes) {
  EXPECT_EQ(rounded(DType::f16, {0, -0.1F, 1.0F + 0x1p-11F, 1.0F + 0x3p-11F, 65519, 0x3p-26F}),
            (std::vector<float>{0, -0x1.998p-4F, 1, 1.0F + 0x1p-9F, 65504, 0x1p-24F}));
  for (const float x : {65520.0F, -65520.0F, kInfinity, NAN})
    EXPECT_TRUE(std::isnan(rounded(DType::f16, {x})[0])) << x;
  EXPECT_EQ(rounded(DType::f32, {1e30F, 0.1F}), (std::vector<float>{1e30F, 0.1F}));
  EXPECT_TRUE(std::isnan(rounded(DType::f32, {-kInfinity})[0]));
}

// The largest number, here of either sign, is met; the others are multiples of an eighth of it, of
// which there are seven on the other side.
TEST(StateFormat, RoundsToMultiplesOfAPartOfTheLargest) {
  EXPECT_EQ(rounded(DType::q4, {8, -8, 7.6F, 2.4F, 2.6F, 2.5F, 3.5F, -0.4F}),
            (std::vector<float>{7, -8, 7, 2, 3, 2, 4, 0}));
  EXPECT_EQ(rounded(DType::q4, {8, -7.6F, 7.6F, -2.4F}), (std::vector<float>{8, -7, 8, -2}));
  EXPECT_EQ(rounded(DType::q8, {-128, 127.9F, 2.4F}), (std::vector<float>{-128, 127, 2}));
  EXPECT_EQ(rounded(DType::q4, {0, 0}), (std::vector<float>{0, 0}));
}

TEST(StateFormat, GroupsHaveNothingToDoWithEachOther) {
  for (const DType dtype : {DType::q8, DType::q4}) {
    std::vector<float> head(40, 0.01F);
    head[31] = 1000;
    const std::vector<float> got = rounded(dtype, head);
    EXPECT_EQ(got[31], 1000);
    EXPECT_EQ(got[0], 0);
    EXPECT_NEAR(got[32], 0.01F, 1e-5);
    head[31] = NAN;
    EXPECT_TRUE(std::isnan(rounded(dtype, head)[0]));
    EXPECT_FALSE(std::isnan(rounded(dtype, head)[32]));
  }
}

// A scale is a float16: that of a group with an infinity or too large a number is none.
TEST(StateFormat, WhatScalesCannotHoldIsNoNumber) {
  EXPECT_TRUE(std::isnan(rounded(DType::q4, {1, -kInfinity})[0]));
  for (const DType dtype : {DType::q8, DType::q4}) {
    EXPECT_TRUE(std::isnan(rounded(dtype, {1, 65520})[0]));
    EXPECT_EQ(rounded(dtype, {1, 65504})[1], 65504);
    EXPECT_EQ(rounded(dtype, {1, 65504})[0], 0);
  }
}

// Numbers differ from what they become by a step at most, and what was rounded stays.
TEST(StateFormat, RoundsOnce) {
  uint32_t random = 1;
  for (const StateFormat& format : kStateFormats)
    for (int round = 0; round < 200; ++round) {
      std::vector<float> head(37);
      for (float& x : head) {
        random = random * 1664525 + 1013904223;
        x = std::ldexp(static_cast<float>(static_cast<int32_t>(random)), -31 - round % 8);
      }
      std::vector<float> once = head;
      round_to(format, once.data(), std::ssize(once));
      for (size_t i = 0; i < head.size(); ++i) {
        float largest = 0;
        for (size_t k = i / 32 * 32; k < std::min(head.size(), i / 32 * 32 + 32); ++k)
          largest = std::max(largest, std::abs(head[k]));
        const int lowest = format.group == 0 ? 2048 : 1 << (format.bits - 1);
        EXPECT_LE(std::abs(once[i] - head[i]), 1.001F * largest / static_cast<float>(lowest));
      }
      std::vector<float> twice = once;
      round_to(format, twice.data(), std::ssize(twice));
      EXPECT_EQ(twice, once) << name(format.dtype);
    }
}

std::string module_with(const std::string& keys, const std::string& values) {
  return "module @m {\n  state @k : " + keys + "\n  state @v : " + values + R"(
  func @forward(%x: tensor<Tx2x4xf32>) {
    kv_append @k, %x
    kv_append @v, %x
    %0 = attention %x, @k, @v {scale = 0.5} : tensor<Tx8xf32>
    return %0
  }
}
)";
}

TEST(StateFormat, IsPartOfTheText) {
  for (const StateFormat& format : kStateFormats) {
    const std::string type =
        to_string(StateType{StateKind::paged, {format.dtype, {2, Dim::of('C'), 4}}});
    const std::string text = module_with(type, type);
    const auto module = parse(text, "m");
    ASSERT_TRUE(module.ok()) << module.status();
    EXPECT_EQ(print(*module), text);
  }
  std::string rings = module_with("state<2x9x4, ring q8>", "state<2x9x4, ring q8>");
  rings.replace(rings.find("{scale = 0.5}"), 13, "{scale = 0.5, window = 9}");
  const auto module = parse(rings, "m");
  ASSERT_TRUE(module.ok()) << module.status();
  EXPECT_EQ(print(*module), rings);
}

TEST(StateFormat, IsOfStatesAloneAndOneOfThem) {
  const auto error = [](const std::string& text) { return message(parse(text, "m").status()); };
  EXPECT_EQ(error(module_with("state<2xCx4, paged bf16>", "state<2xCx4, paged f16>")),
            "m:2:14: state<2xCx4, paged bf16>: paged state holds f16, f32, q8, q4");
  EXPECT_EQ(error(module_with("state<2xCx4, paged q8>", "state<2xCx4, paged q4>")),
            "m:7:10: [attention] the key cache is state<2xCx4, paged q8>, the value cache "
            "state<2xCx4, paged q4>; they may differ in the width of a head alone");
  EXPECT_EQ(error(module_with("state<2xCx4, paged q8>", "state<2xCx8, paged q8>")),
            "m:6:5: [kv_append] the input has 2 heads of 4, the cache 2 of 8");
  EXPECT_EQ(error("module @m {\n  func @forward(%x: tensor<Tx4xq8>) {"),
            "m:2:21: tensor<Tx4xq8>: only states are stored as q8");
  EXPECT_EQ(error("module @m {\n  weight @w : weight<4x4, q4> = source(\"w\")"),
            "m:2:15: weight<4x4, q4>: elements are f32, f16 or bf16");
}

TEST(StateFormat, KindsHaveTheirExtents) {
  const auto error = [](StateKind kind, TensorType numbers) {
    return message(verify_type(StateType{kind, std::move(numbers)}));
  };
  const Dim capacity = Dim::of('C');
  EXPECT_EQ(error(StateKind::paged, {DType::q8, {2, capacity, 5}}), "");
  EXPECT_EQ(error(StateKind::fixed, {DType::f32, {3, 5}}), "");
  EXPECT_EQ(error(StateKind::fixed, {DType::f32, {2, 3, 5, 7}}), "");
  EXPECT_EQ(error(StateKind::paged, {DType::f16, {3, 5}}),
            "state<3x5, paged f16>: paged state is [kv_heads, C, head_dim]");
  EXPECT_EQ(error(StateKind::paged, {DType::f16, {2, Dim::of('T'), 5}}),
            "state<2xTx5, paged f16>: paged state is [kv_heads, C, head_dim]");
  EXPECT_EQ(error(StateKind::ring, {DType::q4, {2, 9, 5}}), "");
  EXPECT_EQ(error(StateKind::ring, {DType::f16, {2, capacity, 5}}),
            "state<2xCx5, ring f16>: ring state is [kv_heads, window, head_dim]");
  EXPECT_EQ(error(StateKind::ring, {DType::bf16, {2, 9, 5}}),
            "state<2x9x5, ring bf16>: ring state holds f16, f32, q8, q4");
  EXPECT_EQ(error(StateKind::fixed, {DType::f32, {3, capacity}}),
            "state<3xC, fixed f32>: extents of fixed state are numbers");
  EXPECT_EQ(error(StateKind::fixed, {DType::q8, {3, 32}}),
            "state<3x32, fixed q8>: fixed state holds f32");
  EXPECT_EQ(error(StateKind::fixed, {DType::f32, {}}), "state<, fixed f32>: there are no extents");
  EXPECT_EQ(error(StateKind::fixed, {DType::f32, {3, 0}}),
            "state<3x0, fixed f32>: extent 0 is not in 1..2^40");
}

TEST(StateFormat, OfOtherStateThanCachesStays) {
  Module module;
  const ValueId keys =
      module.add_state("k", {StateKind::paged, {DType::f16, {2, Dim::of('C'), 5}}});
  const ValueId last = module.add_state("l", {StateKind::ring, {DType::f16, {2, 9, 5}}});
  const ValueId taps = module.add_state("t", {StateKind::fixed, {DType::f32, {3, 5}}});
  set_state_format(module, DType::q4);
  EXPECT_EQ(to_string(module.state(keys)), "state<2xCx5, paged q4>");
  EXPECT_EQ(to_string(module.state(last)), "state<2x9x5, ring q4>");
  EXPECT_EQ(to_string(module.state(taps)), "state<3x5, fixed f32>");
}

// Runs of 5 numbers have room for 16.
TEST(StateFormat, CountsBytes) {
  EXPECT_EQ(fixed_bytes({DType::f32, {3, 5}}), 3 * 16 * 4);
  EXPECT_EQ(fixed_bytes({DType::f32, {2, 3, 17}}), 2 * 3 * 32 * 4);
  EXPECT_EQ(bytes_per_position({DType::f16, {2, Dim::of('C'), 5}}), 2 * 16 * 2);
}

// The step's own keys and values are read as the caches hold them.
TEST(StateFormat, IsWhatTheInterpreterReads) {
  for (const StateFormat& format : kStateFormats) {
    const std::string type =
        to_string(StateType{StateKind::paged, {format.dtype, {2, Dim::of('C'), 4}}});
    const auto module = parse(module_with(type, type), "m");
    ASSERT_TRUE(module.ok()) << module.status();
    Array x{{1, 2, 4}, {0.1F, 0.2F, 0.3F, 0.4F, 1, -2, 3, 1e-3F}};
    InterpreterState state;
    const auto got =
        interpret_nodes(*module, module->nodes, MapSource(), {{module->params[0], x}}, 1, 1, state);
    ASSERT_TRUE(got.ok()) << got.status();
    for (const size_t head : {0, 4}) round_to(format, x.data.data() + head, 4);
    EXPECT_EQ(got->at(module->returns[0]).data, x.data) << name(format.dtype);
  }
}

}  // namespace
}  // namespace sinter::ir
