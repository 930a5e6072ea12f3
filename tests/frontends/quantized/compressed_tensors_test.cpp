// compressed-tensors checkpoints made here by the rules of the compressors.
#include "frontends/quantized/compressed_tensors.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "tests/frontends/model_folder.h"

namespace sinter::frontends {
namespace {

constexpr const char* kModule = "model.layers.0.self_attn.q_proj";

std::string part(const char* suffix) { return std::string(kModule) + suffix; }

// Numbers along a row, first those in the low bits; the last word is filled with zeros.
std::vector<uint32_t> words_of(const std::vector<uint32_t>& codes, int bits) {
  const auto per_word = static_cast<size_t>(32 / bits);
  std::vector<uint32_t> words((codes.size() + per_word - 1) / per_word);
  for (size_t i = 0; i < codes.size(); ++i)
    words[i / per_word] |= codes[i] << (i % per_word * static_cast<size_t>(bits));
  return words;
}

class PackQuantized : public testing::Test {
 protected:
  PackQuantized() { make(4, 32, "group", true); }

  // 10 rows of 64 columns, in groups of `group`.
  void make(int bits, int64_t group, const char* strategy, bool symmetric) {
    Json weights = {{"num_bits", bits},
                    {"type", "int"},
                    {"strategy", strategy},
                    {"symmetric", symmetric},
                    {"actorder", nullptr}};
    if (std::string(strategy) == "group") weights["group_size"] = group;
    folder_.config["quantization_config"] = {
        {"quant_method", "compressed-tensors"},
        {"format", "pack-quantized"},
        {"config_groups", {{"group_0", {{"weights", weights}, {"targets", {"Linear"}}}}}},
        {"ignore", {"lm_head"}}};
    uint32_t state = 5;
    const int middle = 1 << (bits - 1);
    const int64_t groups = kCols / group;
    std::vector<float> scales;
    zeros_.clear();
    for (int64_t i = 0; i < kRows * groups; ++i) {
      scales.push_back(static_cast<float>(i + 1) / 4);
      zeros_.push_back(
          symmetric
              ? 0
              : static_cast<int>(next_number(state) % static_cast<uint32_t>(2 * middle)) - middle);
    }
    std::vector<uint32_t> all;
    numbers_.clear();
    for (int64_t r = 0; r < kRows; ++r) {
      std::vector<uint32_t> codes;
      for (int64_t c = 0; c < kCols; ++c) {
        const auto at = static_cast<size_t>(r * groups + c / group);
        const int value =
            static_cast<int>(next_number(state) % static_cast<uint32_t>(2 * middle)) - middle;
        numbers_.push_back(scales[at] * static_cast<float>(value - zeros_[at]));
        codes.push_back(static_cast<uint32_t>(value + middle));
      }
      const std::vector<uint32_t> words = words_of(codes, bits);
      all.insert(all.end(), words.begin(), words.end());
    }
    folder_.tensors = {{part(".weight_packed"), "I32", {kRows, kCols * bits / 32}, bytes_of(all)},
                       f32_tensor(part(".weight_scale"), {kRows, groups}, scales),
                       {part(".weight_shape"), "I64", {2}, bytes_of<int64_t>({kRows, kCols})},
                       f32_tensor("lm_head.weight", {1, 2}, {1, 2})};
    if (symmetric) return;
    // Packed down the rows, a stream per group.
    const int64_t per_word = 32 / bits;
    const int64_t word_rows = (kRows + per_word - 1) / per_word;
    std::vector<uint32_t> packed(static_cast<size_t>(word_rows * groups));
    for (int64_t r = 0; r < kRows; ++r)
      for (int64_t g = 0; g < groups; ++g)
        packed[static_cast<size_t>(r / per_word * groups + g)] |=
            static_cast<uint32_t>(zeros_[static_cast<size_t>(r * groups + g)] + middle)
            << (r % per_word * bits);
    folder_.tensors.push_back(
        {part(".weight_zero_point"), "I32", {word_rows, groups}, bytes_of(packed)});
  }
  Json& block() { return folder_.config["quantization_config"]; }
  Json& weights() { return block()["config_groups"]["group_0"]["weights"]; }

  static constexpr int64_t kRows = 10;
  static constexpr int64_t kCols = 64;
  ModelFolder folder_;
  std::vector<int> zeros_;
  std::vector<float> numbers_;
};

TEST_F(PackQuantized, CodesCountFromTheMiddle) {
  EXPECT_EQ(numbers_of(folder_, kModule), numbers_);
  EXPECT_EQ(format_of(folder_, kModule), "symmetric b4 z8 g32 f32");
  EXPECT_EQ(format_of(folder_, "lm_head"), "f32");
  for (const int bits : {2, 8}) {
    make(bits, 16, "group", true);
    EXPECT_EQ(numbers_of(folder_, kModule), numbers_) << bits;
  }
}

TEST_F(PackQuantized, AChannelIsAGroup) {
  make(4, kCols, "channel", true);
  EXPECT_EQ(format_of(folder_, kModule), "symmetric b4 z8 g64 f32");
  EXPECT_EQ(numbers_of(folder_, kModule), numbers_);
}

TEST_F(PackQuantized, ZeroPointsShift) {
  for (const int bits : {4, 8}) {
    make(bits, 32, "group", false);
    EXPECT_EQ(numbers_of(folder_, kModule), numbers_) << bits;
    EXPECT_EQ(format_of(folder_, kModule), fmt::format("shifted b{} g32 f32", bits));
    std::string bytes;
    for (const int zero : zeros_) bytes += static_cast<char>(zero);
    folder_.tensor(part(".weight_zero_point")) = {
        part(".weight_zero_point"), "I8", {kRows, kCols / 32}, bytes};
    EXPECT_EQ(numbers_of(folder_, kModule), numbers_) << bits;
  }
  make(4, 32, "group", false);
  folder_.tensor(part(".weight_zero_point")) = {
      part(".weight_zero_point"), "I8", {kRows, kCols / 32}, std::string(20, '\x08')};
  expect_error(folder_.open(), {"weight_zero_point", "zero point 8, which does not fit in 4 bits"});
  folder_.remove(part(".weight_zero_point"));
  expect_error(folder_.open(), {"model.safetensors: tensor", "weight_zero_point", "is missing"});
}

TEST_F(PackQuantized, ZeroPointsOfSymmetricWeightsMayBeThere) {
  const std::vector<TestTensor> good = folder_.tensors;
  for (const TestTensor& zeros :
       {TestTensor{part(".weight_zero_point"), "I8", {kRows, 2}, std::string(20, '\0')},
        TestTensor{part(".weight_zero_point"), "I64", {kRows, 2}, std::string(160, '\0')},
        TestTensor{part(".weight_zero_point"), "I32", {2, 2}, std::string(16, '\0')},
        TestTensor{part(".weight_zero_point"),
                   "I32",
                   {2, 2},
                   bytes_of<uint32_t>({0x88888888, 0x88888888, 0x88, 0x88})}}) {
    folder_.tensors = good;
    folder_.tensors.push_back(zeros);
    EXPECT_EQ(format_of(folder_, kModule), "symmetric b4 z8 g32 f32");
    EXPECT_EQ(numbers_of(folder_, kModule), numbers_);
    EXPECT_FALSE((*folder_.open())->has(zeros.name));
  }
  folder_.tensors = good;
  folder_.tensors.push_back(
      {part(".weight_zero_point"), "I8", {kRows, 2}, std::string(19, '\0') + "\x01"});
  expect_error(folder_.open(), {"model.safetensors: tensor", "weight_zero_point",
                                "the zero point 1 for row 9, group 1",
                                "config_groups.weights.symmetric\" is true"});
}

TEST_F(PackQuantized, ColumnsMayBeSaidToBeInOrder) {
  std::vector<int32_t> in_order(kCols);
  for (size_t c = 0; c < in_order.size(); ++c) in_order[c] = static_cast<int32_t>(c / 32);
  folder_.tensors.push_back({part(".weight_g_idx"), "I32", {kCols}, bytes_of(in_order)});
  EXPECT_EQ(numbers_of(folder_, kModule), numbers_);
  folder_.tensor(part(".weight_g_idx")).bytes = bytes_of(std::vector<int32_t>(kCols, -1));
  EXPECT_EQ(numbers_of(folder_, kModule), numbers_);
  EXPECT_FALSE((*folder_.open())->has(part(".weight_g_idx")));
}

TEST_F(PackQuantized, AGroupMaySayTheFormat) {
  for (const Json& format : {Json(nullptr), Json("pack-quantized")}) {
    block()["format"] = nullptr;
    block()["config_groups"]["group_0"]["format"] = format;
    EXPECT_EQ(numbers_of(folder_, kModule), numbers_);
    block().erase("format");
    EXPECT_EQ(numbers_of(folder_, kModule), numbers_);
  }
  block()["config_groups"]["group_0"]["format"] = "float-quantized";
  expect_error(folder_.open(), {"\"quantization_config.config_groups.group_0.format\" is "
                                "\"float-quantized\", which is not supported"});
}

TEST_F(PackQuantized, NothingMayBePacked) {
  block()["format"] = "dense";
  folder_.tensors = {f32_tensor("lm_head.weight", {1, 2}, {1, 2})};
  EXPECT_EQ(numbers_of(folder_, "lm_head"), (std::vector<float>{1, 2}));
}

TEST_F(PackQuantized, TheBlockHadAnotherName) {
  folder_.config["compression_config"] = block();
  folder_.config.erase("quantization_config");
  EXPECT_EQ(numbers_of(folder_, kModule), numbers_);
}

TEST_F(PackQuantized, ScalesOfTheCacheAreNotUsed) {
  for (const char* name : {"k_scale", "v_scale", "k_proj.output_scale"})
    folder_.tensors.push_back(
        f32_tensor(std::string("model.layers.0.self_attn.") + name, {1}, {0.5F}));
  const auto checkpoint = folder_.open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE((*checkpoint)->check_all_used({kModule, "lm_head"}).ok());
  ASSERT_EQ((*checkpoint)->notes.size(), 1U);
  EXPECT_NE((*checkpoint)->notes[0].find("scales of a KV cache"), std::string::npos);
}

TEST_F(PackQuantized, WhatCannotBeReadIsNamed) {
  for (const char* format : {"int-quantized", "float-quantized", "marlin-24", "naive-quantized"}) {
    block()["format"] = format;
    expect_error(folder_.open(), {"config.json: \"quantization_config.format\" is", format,
                                  "supported are pack-quantized, nvfp4-pack-quantized"});
  }
  make(4, 32, "group", true);
  weights()["num_bits"] = 3;
  expect_error(folder_.open(), {"config.json: ", "num_bits\" is 3, supported are 2, 4, 8"});
  weights()["num_bits"] = 4;
  weights()["strategy"] = "block";
  expect_error(folder_.open(), {"config.json: ", "strategy\" is \"block\""});
  weights()["strategy"] = "group";
  block()["transform_config"] = {{"config_groups", Json::object()}};
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.transform_config\" is not empty"});
  block().erase("transform_config");
  block()["config_groups"]["group_1"]["weights"] = {{"num_bits", 8}};
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.config_groups\"", "several ways"});
  block()["config_groups"] = Json::object();
  expect_error(folder_.open(), {"config.json: \"quantization_config.config_groups\" is empty"});
}

TEST_F(PackQuantized, TensorsThatDoNotFitAreNamed) {
  folder_.tensor(part(".weight_shape")).bytes = bytes_of<int64_t>({10, 60});
  expect_error(folder_.open(),
               {"model.safetensors: tensor", "weight_shape", "says [10, 60]", "[10, 64]"});
  make(4, 32, "group", true);
  folder_.tensor(part(".weight_scale")).shape = {5, 4};
  expect_error(folder_.open(),
               {"model.safetensors: tensor", "weight_scale", "expected F32 [10, 2]"});
  make(4, 32, "group", true);
  folder_.tensor(part(".weight_scale")).bytes.replace(0, 4, bytes_of<float>({NAN}));
  expect_error(folder_.open(),
               {"model.safetensors: tensor", "weight_scale", "nan at row 0, group 0"});
  make(4, 32, "group", true);
  folder_.tensors.push_back({part(".weight_g_idx"), "I32", {64}, std::string(256, '\0')});
  expect_error(folder_.open(), {"model.safetensors: tensor", "weight_g_idx", "actorder"});
}

class Nvfp4Packed : public testing::Test {
 protected:
  Nvfp4Packed() {
    folder_.config["quantization_config"] = {
        {"quant_method", "compressed-tensors"},
        {"format", "nvfp4-pack-quantized"},
        {"config_groups",
         {{"group_0", {{"weights", {{"num_bits", 4}, {"type", "float"}, {"group_size", 16}}}}}}}};
    folder_.tensors = {{part(".weight_packed"),
                        "U8",
                        {1, 16},
                        "\x10\x32\x54\x76\x98\xBA\xDC\xFE\x10\x32\x54\x76\x98\xBA\xDC\xFE"},
                       {part(".weight_scale"), "F8_E4M3", {1, 2}, "\x38\x40"},
                       f32_tensor(part(".weight_global_scale"), {1}, {4}),
                       f32_tensor(part(".input_global_scale"), {1}, {100})};
  }
  ModelFolder folder_;
};

TEST_F(Nvfp4Packed, TheGlobalScaleDivides) {
  EXPECT_EQ(format_of(folder_, kModule), "fp4 g16 e4m3 tensor");
  std::vector<float> expected = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};
  for (size_t i = 0; i < 16; ++i) expected.push_back(2 * expected[i]);
  for (float& number : expected) number /= 4;
  EXPECT_EQ(numbers_of(folder_, kModule), expected);
}

TEST_F(Nvfp4Packed, TheFormatMayBeSeenFromTheTensors) {
  folder_.config["quantization_config"]["format"] = nullptr;
  EXPECT_EQ(format_of(folder_, kModule), "fp4 g16 e4m3 tensor");
}

TEST_F(Nvfp4Packed, ScalesThatAreNoNumbersAreRefused) {
  folder_.tensor(part(".weight_scale")).bytes = "\x38\x7f";
  expect_error(folder_.open(),
               {"model.safetensors: tensor", "weight_scale", "nan at row 0, group 1"});
  folder_.tensor(part(".weight_scale")).bytes = "\x38\x38";
  for (const float bad : {0.0F, INFINITY, NAN}) {
    folder_.tensor(part(".weight_global_scale")) =
        f32_tensor(part(".weight_global_scale"), {1}, {bad});
    expect_error(folder_.open(),
                 {"model.safetensors: tensor", "weight_global_scale", "finite and not 0"});
  }
  folder_.remove(part(".weight_global_scale"));
  expect_error(folder_.open(), {"model.safetensors: tensor", "weight_global_scale", "is missing"});
}

}  // namespace
}  // namespace sinter::frontends
