#include "runtime/plan/synthetic.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "runtime/plan/checksum.h"
#include "runtime/support/half.h"

namespace sinter::runtime {
namespace {

std::vector<uint8_t> fill_all(const std::vector<Fill>& fills, uint64_t bytes, uint64_t seed) {
  std::vector<uint8_t> out(bytes, 0xee);
  for (size_t i = 0; i < fills.size(); ++i) {
    fill_range(fills, i, seed, 0, fill_words(fills[i]), out.data());
  }
  return out;
}

float element(const std::vector<uint8_t>& bytes, const Fill& fill, uint64_t index) {
  const uint64_t size = fill_element_bytes(fill.dtype);
  uint32_t bits = 0;
  std::memcpy(&bits, bytes.data() + fill.offset + index * size, size);
  if (fill.dtype == "f16") return f32_from_f16(static_cast<uint16_t>(bits));
  if (fill.dtype == "bf16") return f32_from_bf16(static_cast<uint16_t>(bits));
  if (fill.dtype == "e8m0") return std::ldexp(1.0F, static_cast<int>(bits) - 127);
  if (fill.dtype == "e4m3") {
    const int exponent = bits >> 3 & 15;
    const int fraction = bits & 7;
    const float magnitude = exponent == 0
                                ? std::ldexp(static_cast<float>(fraction), -9)
                                : std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
    return bits >> 7 != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(bits);
}

const std::vector<Fill> all_kinds = {{Fill::Kind::bits, "", 64, 1003, 0, 0, 0},
                                     {Fill::Kind::ternary, "", 1088, 997, 0, 0, 0},
                                     {Fill::Kind::uniform, "f16", 2112, 998, -0.5, 1.5, 0},
                                     {Fill::Kind::paired, "bf16", 3136, 998, 0, 0, 0.5},
                                     {Fill::Kind::uniform, "f32", 4160, 1004, 1, 2, 0},
                                     {Fill::Kind::paired, "f16", 5184, 502, 0, 0, 1},
                                     {Fill::Kind::uniform, "bf16", 6208, 998, -2, -1, 0},
                                     {Fill::Kind::paired, "f32", 7232, 1996, 0, 0, -1}};

TEST(Synthetic, BytesAreTheSameOnEveryMachineAndRun) {
  // The value was computed once; another one means that plans in use would change.
  EXPECT_EQ(checksum_of(fill_all(all_kinds, 9280, 42)), 0xc49053e904c58155u);
}

TEST(Synthetic, AnyCutOfTheWorkMakesTheSameBytes) {
  const std::vector<uint8_t> whole = fill_all(all_kinds, 9280, 42);
  std::vector<uint8_t> pieces(9280, 0xee);
  std::mt19937_64 random(1);
  for (size_t i = all_kinds.size(); i-- > 0;) {
    const uint64_t words = fill_words(all_kinds[i]);
    for (uint64_t first = 0; first < words;) {
      const uint64_t last = std::min<uint64_t>(words, first + 1 + random() % 9);
      fill_range(all_kinds, i, 42, first, last, pieces.data());
      first = last;
    }
  }
  EXPECT_EQ(pieces, whole);
}

TEST(Synthetic, NothingOutsideTheFillsIsWritten) {
  const std::vector<uint8_t> bytes = fill_all(all_kinds, 9280, 42);
  std::vector<bool> filled(bytes.size());
  for (const Fill& fill : all_kinds) {
    for (uint64_t i = 0; i < fill.bytes; ++i) filled[fill.offset + i] = true;
  }
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (!filled[i]) ASSERT_EQ(bytes[i], 0xee) << i;
  }
}

TEST(Synthetic, SeedsAndFillsDiffer) {
  const std::vector<Fill> two = {{Fill::Kind::bits, "", 0, 64, 0, 0, 0},
                                 {Fill::Kind::bits, "", 64, 64, 0, 0, 0}};
  const std::vector<uint8_t> a = fill_all(two, 128, 1), b = fill_all(two, 128, 2);
  EXPECT_NE(a, b);
  EXPECT_NE(std::memcmp(a.data(), a.data() + 64, 64), 0);
}

TEST(Synthetic, BitsAreUniform) {
  const std::vector<uint8_t> bytes =
      fill_all({{Fill::Kind::bits, "", 0, 1 << 20, 0, 0, 0}}, 1 << 20, 5);
  std::array<int, 256> counts{};
  for (const uint8_t byte : bytes) ++counts[byte];
  for (const int count : counts) EXPECT_NEAR(count, 4096, 400);
}

TEST(Synthetic, TernaryFieldsAreUniformInZeroToTwo) {
  const std::vector<uint8_t> bytes =
      fill_all({{Fill::Kind::ternary, "", 0, 1 << 18, 0, 0, 0}}, 1 << 18, 5);
  for (int field = 0; field < 4; ++field) {
    std::array<int, 4> counts{};
    for (const uint8_t byte : bytes) ++counts[byte >> (2 * field) & 3];
    EXPECT_EQ(counts[3], 0);
    for (int code = 0; code < 3; ++code) EXPECT_NEAR(counts[code], (1 << 18) / 3, 1500);
  }
}

TEST(Synthetic, NumbersOfOneByteAreTheNearestOnes) {
  for (const char* dtype : {"e8m0", "e4m3"}) {
    // A grid fine enough to meet every number between the two ends.
    const Fill fill{Fill::Kind::uniform, dtype, 0, 1 << 16, 0.001, 8, 0};
    const Fill exact{Fill::Kind::uniform, "f16", 0, 1 << 17, 0.001, 8, 0};
    const std::vector<uint8_t> bytes = fill_all({fill}, fill.bytes, 9);
    const std::vector<uint8_t> wide = fill_all({exact}, exact.bytes, 9);
    for (uint64_t i = 0; i < fill.bytes; ++i) {
      const float want = element(wide, exact, i), got = element(bytes, fill, i);
      // Half a step: of three bits of fraction, or of a power of two; f16 has a part of its own.
      const float step = dtype == std::string("e8m0") ? got : std::max(got / 8, 0x1p-9F);
      ASSERT_LE(std::abs(want - got), 0.5001F * step + want / 2000) << dtype << " " << want;
    }
  }
}

TEST(Synthetic, UniformNumbersCoverTheirRange) {
  for (const char* dtype : {"f16", "bf16", "f32"}) {
    const Fill fill{Fill::Kind::uniform, dtype, 0, 1 << 16, -0.5, 1.5, 0};
    const std::vector<uint8_t> bytes = fill_all({fill}, fill.bytes, 9);
    const uint64_t count = fill.bytes / fill_element_bytes(dtype);
    double sum = 0, low = 9, high = -9;
    for (uint64_t i = 0; i < count; ++i) {
      const double value = element(bytes, fill, i);
      sum += value;
      low = std::min(low, value);
      high = std::max(high, value);
    }
    EXPECT_NEAR(sum / static_cast<double>(count), 0.5, 0.02) << dtype;
    EXPECT_GE(low, -0.5) << dtype;
    EXPECT_LE(high, 1.5) << dtype;
    EXPECT_LT(low, -0.49) << dtype;
    EXPECT_GT(high, 1.49) << dtype;
  }
}

TEST(Synthetic, PairedNumbersFollowTheirScales) {
  const std::vector<uint8_t> bytes = fill_all(all_kinds, 9280, 42);
  for (const size_t p : {3u, 5u, 7u}) {
    const Fill &scales = all_kinds[p - 1], &biases = all_kinds[p];
    for (uint64_t i = 0; i < biases.bytes / fill_element_bytes(biases.dtype); ++i) {
      const float exact = static_cast<float>(-biases.factor) * element(bytes, scales, i);
      float rounded = exact;
      if (biases.dtype == "f16") rounded = f32_from_f16(f16_from_f32(exact));
      if (biases.dtype == "bf16") rounded = f32_from_bf16(bf16_from_f32(exact));
      ASSERT_EQ(element(bytes, biases, i), rounded) << p << " " << i;
    }
  }
}

TEST(Half, EveryF16SurvivesTheRoundTripAndMidpointsGoToEven) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const float value = f32_from_f16(static_cast<uint16_t>(bits));
    ASSERT_EQ(f16_from_f32(value), bits);
    ASSERT_EQ(f16_from_f32(-value), bits | 0x8000);
    // 0x7c00 would be 65536 if it were a number.
    const float next =
        bits + 1 == 0x7c00 ? 65536.0f : f32_from_f16(static_cast<uint16_t>(bits + 1));
    const float middle = (value + next) / 2;
    ASSERT_EQ(f16_from_f32(middle), bits + (bits & 1)) << bits;
    ASSERT_EQ(f16_from_f32(std::nextafter(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(f16_from_f32(std::nextafter(middle, 1e9f)), bits + 1) << bits;
  }
  EXPECT_EQ(f16_from_f32(INFINITY), 0x7c00);
  EXPECT_EQ(f16_from_f32(1e30f), 0x7c00);
  EXPECT_EQ(f16_from_f32(NAN) & 0x7fff, 0x7e00);
  EXPECT_TRUE(std::isnan(f32_from_f16(0x7e00)));
  EXPECT_EQ(f32_from_f16(0xfc00), -INFINITY);
}

TEST(Half, Bf16RoundsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const float value = f32_from_bf16(static_cast<uint16_t>(bits));
    ASSERT_EQ(bf16_from_f32(value), bits);
    const float middle = std::bit_cast<float>(bits << 16 | 0x8000);
    ASSERT_EQ(bf16_from_f32(middle), bits + (bits & 1));
    ASSERT_EQ(bf16_from_f32(std::nextafter(middle, INFINITY)), bits + 1);
  }
  EXPECT_EQ(bf16_from_f32(INFINITY), 0x7f80);
  EXPECT_TRUE(std::isnan(f32_from_bf16(bf16_from_f32(NAN))));
}

TEST(Synthetic, PrintsItsSpeed) {
  std::vector<uint8_t> out(64 << 20, 1);
  for (const Fill::Kind kind :
       {Fill::Kind::bits, Fill::Kind::ternary, Fill::Kind::uniform, Fill::Kind::paired}) {
    const std::vector<Fill> fills = {{Fill::Kind::uniform, "f16", 0, out.size(), 0, 1, 0},
                                     {kind, "f16", 0, out.size(), 0, 1, 1}};
    const auto start = std::chrono::steady_clock::now();
    fill_range(fills, 1, 3, 0, fill_words(fills[1]), out.data());
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("kind %d: %.2f GB/s on one thread\n", static_cast<int>(kind),
                static_cast<double>(out.size()) / seconds * 1e-9);
  }
}

}  // namespace
}  // namespace sinter::runtime
