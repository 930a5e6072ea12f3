// RoPE frequencies against values worked out by hand from the formulas.
#include "models/rope.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace sinter::models {
namespace {

using nlohmann::json;

absl::StatusOr<Rope> read_rope(const json& config, int64_t head_dim, int64_t positions,
                               std::vector<std::string>* notes = nullptr) {
  const Config read(config);
  auto rope = models::read_rope(read, {.head_dim = head_dim, .max_positions = positions});
  if (notes != nullptr) *notes = read.notes();
  return rope;
}

std::string error_of(const json& config) {
  const auto rope = read_rope(config, 64, 2048);
  return rope.ok() ? "no error" : std::string(rope.status().message());
}

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
    EXPECT_NE(refused.status().message().find("frequency_factors\""), std::string::npos)
        << refused.status();
  }
}

TEST(Rope, UnknownTypeIsRefusedByName) {
  const auto rope =
      read_rope(json{{"rope_scaling", {{"rope_type", "longest"}, {"factor", 2.0}}}}, 64, 2048);
  EXPECT_EQ(rope.status().message(),
            "config.json: \"rope_scaling.rope_type\" is \"longest\", which is not supported; "
            "known: default, linear, dynamic, llama3, yarn, longrope, proportional");
}

// Each pair has a divisor; cos and sin grow with the logarithm of the stretch: sqrt(1 + ln 4 / ln
// 512).
TEST(Rope, LongRope) {
  const json scaling = {{"type", "longrope"},
                        {"short_factor", {1, 1}},
                        {"long_factor", {2.0, 8.0}},
                        {"original_max_position_embeddings", 512}};
  const auto rope = read_rope(json{{"rope_scaling", scaling}}, 4, 2048);
  ASSERT_TRUE(rope.ok()) << rope.status();
  EXPECT_FLOAT_EQ(rope->inv_freq[0], 0.5F);
  EXPECT_FLOAT_EQ(rope->inv_freq[1], 0.01F / 8);
  EXPECT_NEAR(rope->scale, 1.1055416, 1e-6);
  // Where no text is longer than the original length the short factors are all that there is.
  const auto all_short = read_rope(json{{"rope_scaling", scaling}}, 4, 512);
  ASSERT_TRUE(all_short.ok()) << all_short.status();
  EXPECT_FLOAT_EQ(all_short->inv_freq[1], 0.01F);
  EXPECT_EQ(all_short->scale, 1);
}

// PhiMoE says the factors of cos and sin itself.
TEST(Rope, LongRopeWithScalesOfItsOwn) {
  json fields = {{"rope_scaling",
                  {{"type", "longrope"},
                   {"short_factor", {1, 1}},
                   {"long_factor", {2.0, 8.0}},
                   {"short_mscale", 1.25},
                   {"long_mscale", 1.5},
                   {"original_max_position_embeddings", 512}}}};
  const auto read = [&](int64_t max_positions) {
    const Config config(fields);
    return models::read_rope(config,
                             {.head_dim = 4, .max_positions = max_positions, .mscales = true});
  };
  EXPECT_EQ(read(2048)->scale, 1.5);
  EXPECT_EQ(read(512)->scale, 1.25);
  fields["rope_scaling"].erase("long_mscale");
  EXPECT_EQ(std::string(read(2048).status().message()),
            "config.json: \"rope_scaling.long_mscale\" is missing, expected a number from 0.001 to "
            "1000");
  fields["rope_scaling"]["type"] = "linear";
  EXPECT_EQ(std::string(read(2048).status().message()),
            "config.json: \"rope_scaling.type\" is \"linear\", which is not supported in this "
            "family; known: default, longrope");
}

// Exponents of the whole head, of which only a part rotates.
TEST(Rope, Proportional) {
  const auto rope = read_rope(
      json{{"rope_parameters",
            {{"rope_type", "proportional"}, {"rope_theta", 1e4}, {"partial_rotary_factor", 0.5}}}},
      8, 2048);
  ASSERT_TRUE(rope.ok()) << rope.status();
  EXPECT_EQ(rope->dims(), 8);
  EXPECT_FLOAT_EQ(rope->inv_freq[1], 0.1F);
  EXPECT_EQ(rope->inv_freq[2], 0);
  const auto stretched = read_rope(json{{"rope_parameters",
                                         {{"rope_type", "proportional"},
                                          {"rope_theta", 1e4},
                                          {"partial_rotary_factor", 0.5},
                                          {"factor", 4}}}},
                                   8, 2048);
  ASSERT_TRUE(stretched.ok()) << stretched.status();
  EXPECT_FLOAT_EQ(stretched->inv_freq[1], 0.025F);
}

TEST(Rope, ScalingCountsBesideParameters) {
  std::vector<std::string> notes;
  const auto rope = read_rope(json{{"rope_theta", 10000.0},
                                   {"rope_scaling", {{"type", "linear"}, {"factor", 4.0}}},
                                   {"rope_parameters", {{"rope_theta", 5e5}}}},
                              64, 2048, &notes);
  ASSERT_TRUE(rope.ok()) << rope.status();
  expect_frequency(*rope, 0, 0.25);
  expect_frequency(*rope, 16, 0.01 / 4);
  EXPECT_EQ(notes, std::vector<std::string>{"config.json: \"rope_scaling\" is used and "
                                            "\"rope_parameters\" is ignored, as in transformers"});
  // Neither null nor an empty object is a scaling.
  for (const json& none : {json(), json::object()}) {
    const auto other = read_rope(
        json{{"rope_scaling", none}, {"rope_parameters", {{"rope_theta", 1e6}}}}, 64, 2048);
    ASSERT_TRUE(other.ok()) << other.status();
    expect_frequency(*other, 16, 1e-3);
  }
}

TEST(Rope, ParametersMayBeKeyedByLayerType) {
  const auto keyed = [](const json& parameters) {
    return json{{"rope_theta", 7.0}, {"rope_parameters", parameters}};
  };
  const json full = {{"rope_type", "default"}, {"rope_theta", 1e6}};
  for (const json& parameters :
       {json{{"full_attention", full}},
        json{{"full_attention", full}, {"sliding_attention", nullptr}},
        json{{"full_attention", full}, {"sliding_attention", {{"rope_theta", 3.0}}}}}) {
    const auto rope = read_rope(keyed(parameters), 64, 2048);
    ASSERT_TRUE(rope.ok()) << rope.status();
    expect_frequency(*rope, 16, 1e-3);
  }
  EXPECT_EQ(error_of(keyed({{"sliding_attention", full}})),
            "config.json: \"rope_parameters\" is keyed by layer type, but has nothing for "
            "\"full_attention\", the type of this model's layers");
  EXPECT_EQ(error_of(keyed({{"full_attention", full}, {"rope_theta", 1e6}})),
            "config.json: \"rope_parameters\" mixes parameters and objects for layer types; "
            "expected one or the other");
}

TEST(Rope, YarnReachesFactorTimesTheOriginalPositions) {
  const auto reach = [](int64_t positions, const json& original) {
    const auto rope = read_rope(
        json{{"rope_scaling",
              {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", original}}}},
        64, positions);
    return rope.ok() ? rope->max_positions : -1;
  };
  EXPECT_EQ(reach(40960, 32768), 131072);
  EXPECT_EQ(reach(40960, nullptr), 4 * 40960);
  EXPECT_EQ(reach(131072, 8192), 131072);
}

TEST(Rope, DynamicIsPlainWithinTheContext) {
  std::vector<std::string> notes;
  const auto rope =
      read_rope(json{{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}}, 64, 2048, &notes);
  ASSERT_TRUE(rope.ok()) << rope.status();
  expect_frequency(*rope, 16, 0.01);
  EXPECT_EQ(rope->max_positions, 2048);
  ASSERT_EQ(notes.size(), 1);
  EXPECT_NE(notes[0].find("2048 positions"), std::string::npos) << notes[0];
}

TEST(Rope, TraditionalIsInterleaved) {
  EXPECT_FALSE(read_rope(json::object(), 64, 2048)->interleaved);
  EXPECT_TRUE(read_rope(json{{"rope_traditional", true}}, 64, 2048)->interleaved);
  EXPECT_EQ(error_of(json{{"rope_traditional", 1}}),
            "config.json: \"rope_traditional\" is 1, expected true or false");
}

TEST(Rope, TextThatIsANumberIsReadWithANote) {
  std::vector<std::string> notes;
  const auto rope =
      read_rope(json{{"rope_scaling", {{"type", "linear"}, {"factor", "4.0"}}}}, 64, 2048, &notes);
  ASSERT_TRUE(rope.ok()) << rope.status();
  expect_frequency(*rope, 0, 0.25);
  EXPECT_EQ(notes, std::vector<std::string>{"config.json: \"rope_scaling.factor\" is the string "
                                            "\"4.0\"; it is read as a number"});
  for (const char* text : {"", "four", "4.0x", "0x4", "NaN", "-4"})
    EXPECT_NE(error_of(json{{"rope_scaling", {{"type", "linear"}, {"factor", text}}}})
                  .find("\"rope_scaling.factor\" is "),
              std::string::npos)
        << text;
}

TEST(Rope, MissingFactorIsNamed) {
  const auto rope = read_rope(json{{"rope_scaling", {{"rope_type", "linear"}}}}, 64, 2048);
  ASSERT_FALSE(rope.ok());
  EXPECT_NE(rope.status().message().find("factor"), std::string::npos) << rope.status();
}

}  // namespace
}  // namespace sinter::models
