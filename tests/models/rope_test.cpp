// RoPE frequencies against values worked out by hand from the formulas.
#include "models/rope.h"

#include <gtest/gtest.h>

namespace sinter::models {
namespace {

using nlohmann::json;

void expect_frequency(const Rope& rope, size_t i, double expected) {
  EXPECT_NEAR(rope.inv_freq[i], expected, 1e-6 * expected) << "pair " << i;
}

TEST(Rope, PlainIsAGeometricSeries) {
  const auto rope = read_rope(json{{"rope_theta", 10000.0}}, 64, 2048);
  ASSERT_TRUE(rope.ok()) << rope.status();
  EXPECT_EQ(rope->dims(), 64);
  EXPECT_EQ(rope->scale, 1.0);
  expect_frequency(*rope, 0, 1.0);
  expect_frequency(*rope, 16, 0.01);
}

TEST(Rope, Llama3StretchesLongWavelengths) {
  const json config = {{"rope_theta", 5e5},
                       {"rope_scaling",
                        {{"rope_type", "llama3"},
                         {"factor", 32.0},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", 4.0},
                         {"original_max_position_embeddings", 8192}}}};
  const auto rope = read_rope(config, 64, 131072);
  ASSERT_TRUE(rope.ok()) << rope.status();
  expect_frequency(*rope, 0, 1);
  expect_frequency(*rope, 8, .0376060309);
  expect_frequency(*rope, 15, .00129054793);
  expect_frequency(*rope, 16, .000429556797);
  expect_frequency(*rope, 17, 9.7082878e-5);
  expect_frequency(*rope, 18, 1.94616382e-5);
  expect_frequency(*rope, 31, 9.41830673e-8);
}

TEST(Rope, YarnBlendsAndScales) {
  const json config = {{"rope_parameters",
                        {{"rope_type", "yarn"},
                         {"rope_theta", 1e6},
                         {"factor", 4.0},
                         {"original_max_position_embeddings", 16384}}}};
  const auto rope = read_rope(config, 128, 65536);
  ASSERT_TRUE(rope.ok()) << rope.status();
  EXPECT_NEAR(rope->scale, 1.13862944, 1e-8);
  expect_frequency(*rope, 16, .0316227766);
  expect_frequency(*rope, 32, .000470588235);
  expect_frequency(*rope, 48, 7.90569415e-6);
  expect_frequency(*rope, 63, 3.1023444e-7);
}

TEST(Rope, YarnWithoutTruncation) {
  const json config = {{"rope_theta", 150000.0},
                       {"rope_scaling",
                        {{"type", "yarn"},
                         {"factor", 32.0},
                         {"original_max_position_embeddings", 4096},
                         {"truncate", false}}}};
  const auto rope = read_rope(config, 64, 131072);
  ASSERT_TRUE(rope.ok()) << rope.status();
  EXPECT_NEAR(rope->scale, 1.34657359, 1e-8);
  expect_frequency(*rope, 8, .0508132748);
  expect_frequency(*rope, 16, .000456483919);
  expect_frequency(*rope, 24, 4.09997848e-6);
}

TEST(Rope, PartialRotaryTurnsTheFirstFeatures) {
  const auto rope = read_rope(json{{"partial_rotary_factor", 0.25}}, 64, 2048);
  ASSERT_TRUE(rope.ok()) << rope.status();
  EXPECT_EQ(rope->dims(), 16);
}

TEST(Rope, FactorsDivideTheFrequenciesBeforeTheyAreScaled) {
  const auto with = [](const json& factors) {
    return read_rope(
        json{{"rope_theta", 10000.0},
             {"rope_scaling",
              {{"rope_type", "linear"}, {"factor", 2.0}, {"frequency_factors", factors}}}},
        4, 2048);
  };
  const auto rope = with({1.0, 8.0});
  ASSERT_TRUE(rope.ok()) << rope.status();
  expect_frequency(*rope, 0, 1.0 / 2);
  expect_frequency(*rope, 1, 0.01 / 8 / 2);
  for (const json& bad : {json{1.0}, json{1.0, 0.0}, json{1.0, "x"}, json(3)}) {
    const auto refused = with(bad);
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_NE(refused.status().message().find("\"frequency_factors\""), std::string::npos)
        << refused.status();
  }
}

TEST(Rope, UnknownTypeIsRefusedByName) {
  const auto rope =
      read_rope(json{{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 2.0}}}}, 64, 2048);
  EXPECT_EQ(rope.status().message(),
            "config.json: \"rope_scaling.rope_type\" is \"longrope\", which is not supported; "
            "known: default, linear, llama3, "
            "yarn");
}

TEST(Rope, MissingFactorIsNamed) {
  const auto rope = read_rope(json{{"rope_scaling", {{"rope_type", "linear"}}}}, 64, 2048);
  ASSERT_FALSE(rope.ok());
  EXPECT_NE(rope.status().message().find("factor"), std::string::npos) << rope.status();
}

}  // namespace
}  // namespace sinter::models
