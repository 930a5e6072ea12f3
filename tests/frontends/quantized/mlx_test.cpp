// MLX quantization through whole checkpoints made here: what config.json says against what the
// tensors are.
#include "frontends/quantized/mlx.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/open/open_checkpoint.h"
#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

// 2 rows whose codes are c mod 2^bits, packed as one LSB-first bit stream per row; scale g + 1,
// bias -g - 0.5 for the g-th group of the matrix.
struct Packed {
  int bits = 4;
  int group = 64;
  int64_t cols = 128;

  std::vector<TestTensor> tensors(const std::string& module) const {
    const int64_t words = cols * bits / 32;
    std::vector<uint32_t> codes(2 * words);
    for (int64_t row = 0; row < 2; ++row) {
      for (int64_t bit = 0; bit < cols * bits; ++bit) {
        const int64_t code = bit / bits % (1 << bits);
        const auto set = static_cast<uint32_t>(code >> (bit % bits) & 1);
        codes[row * words + bit / 32] |= set << (bit % 32);
      }
    }
    std::vector<float> scales;
    std::vector<float> biases;
    for (int64_t g = 0; g < 2 * cols / group; ++g) {
      scales.push_back(static_cast<float>(g + 1));
      biases.push_back(static_cast<float>(-g) - 0.5F);
    }
    return {{module + ".weight", "U32", {2, words}, bytes_of(codes)},
            f32_tensor(module + ".scales", {2, cols / group}, scales),
            f32_tensor(module + ".biases", {2, cols / group}, biases)};
  }
};

Json block(int bits, int group) { return {{"bits", bits}, {"group_size", group}}; }

class QuantizationTest : public testing::Test {
 protected:
  QuantizationTest() {
    config_["quantization"] = block(4, 64);
    tensors_ = Packed{}.tensors("model.layers.0.mlp.up_proj");
    tensors_.push_back(f32_tensor("model.norm.weight", {2}, {1, 2}));
  }
  absl::StatusOr<std::unique_ptr<Checkpoint>> open() {
    dir_.write("config.json", config_.dump());
    dir_.write("model.safetensors", safetensors_bytes(tensors_));
    return open_checkpoint(dir_.path());
  }
  TestTensor& tensor(std::string_view name) {
    for (TestTensor& tensor : tensors_) {
      if (tensor.name == name) return tensor;
    }
    ADD_FAILURE() << name;
    return tensors_[0];
  }
  void add(std::vector<TestTensor> more) {
    tensors_.insert(tensors_.end(), more.begin(), more.end());
  }
  void remove(std::string_view name) {
    std::erase_if(tensors_, [&](const TestTensor& tensor) { return tensor.name == name; });
  }

  static constexpr const char* kModule = "model.layers.0.mlp.up_proj";
  static constexpr const char* kWeight = "model.layers.0.mlp.up_proj.weight";
  static constexpr const char* kScales = "model.layers.0.mlp.up_proj.scales";
  static constexpr const char* kBiases = "model.layers.0.mlp.up_proj.biases";
  TempDir dir_;
  Json config_ = Json::object();
  std::vector<TestTensor> tensors_;
};

class EveryFormat : public QuantizationTest,
                    public testing::WithParamInterface<std::tuple<int, int>> {};

TEST_P(EveryFormat, DecodesThroughACheckpoint) {
  const auto [bits, group] = GetParam();
  config_["quantization"] = block(bits, group);
  config_["quantization_config"] = block(bits, group);
  tensors_ = Packed{bits, group, 256}.tensors("m");
  const auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto matrix = (*checkpoint)->matrix("m");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  const ir::WeightFormat expected{ir::CodeMap::affine, bits, group, 0, ir::DType::f32};
  EXPECT_EQ(matrix->type.format, expected);
  EXPECT_EQ(matrix->type.shape, (std::vector<int64_t>{2, 256}));
  std::vector<float> row(256);
  for (int r = 0; r < 2; ++r) {
    ir::decode_row(*matrix, r, row.data());
    for (int c = 0; c < 256; ++c) {
      const auto g = static_cast<float>(r * (256 / group) + c / group);
      const auto code = static_cast<float>(c % (1 << bits));
      ASSERT_EQ(row[c], (g + 1) * code + (-g - 0.5F)) << "row " << r << " column " << c;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Affine, EveryFormat,
                         testing::Combine(testing::Values(1, 2, 3, 4, 5, 6, 8),
                                          testing::Values(32, 64, 128)),
                         [](const auto& format) {
                           return "b" + std::to_string(std::get<0>(format.param)) + "g" +
                                  std::to_string(std::get<1>(format.param));
                         });

TEST_F(QuantizationTest, RefusesWidthsAndGroupsThatDoNotExist) {
  config_["quantization"] = block(7, 64);
  expect_error(open(),
               {"config.json: \"quantization.bits\" is 7, supported are 1, 2, 3, 4, 5, 6, 8"});
  config_["quantization"] = block(4, 48);
  expect_error(open(),
               {"config.json: \"quantization.group_size\" is 48, supported are 32, 64, 128"});
  config_["quantization"] = {{"bits", 4}};
  expect_error(open(), {"config.json: \"quantization.group_size\" is missing"});
  config_["quantization"] = {{"bits", "4"}, {"group_size", 64}};
  expect_error(open(), {"\"quantization.bits\" is \"4\""});
  config_["quantization"] = {{"bits", 4.0}, {"group_size", 64}};
  expect_error(open(), {"\"quantization.bits\" is 4.0"});
  config_["quantization"] = "4 bits";
  expect_error(open(), {"config.json: \"quantization\" is \"4 bits\", expected an object"});
}

TEST_F(QuantizationTest, RefusesOtherModes) {
  config_["quantization"]["mode"] = "mxfp6";
  expect_error(open(), {"config.json: \"quantization.mode\" is \"mxfp6\", which is not supported; "
                        "supported are affine, mxfp4, mxfp8, nvfp4"});
  config_["quantization"]["mode"] = "affine";
  config_["quantization"][kModule] = {{"bits", 4}, {"group_size", 32}, {"mode", "mxfp6"}};
  expect_error(open(), {"config.json: ", kModule, ".mode\" is \"mxfp6\", which is not supported"});
  config_["quantization"].erase(kModule);
  EXPECT_TRUE(open().ok());
}

TEST_F(QuantizationTest, RefusesUnknownMethods) {
  config_.erase("quantization");
  config_["quantization_config"] = {{"quant_method", "hqq"}, {"bits", 4}, {"group_size", 64}};
  expect_error(open(),
               {"config.json: \"quantization_config.quant_method\" is \"hqq\", which is not "
                "supported; supported are awq, bitnet, compressed-tensors, gptq, mxfp4 and",
                "MLX"});
  config_.erase("quantization_config");
  config_["text_config"]["quantization_config"] = {{"quant_method", "eetq"}};
  expect_error(open(), {"\"text_config.quantization_config.quant_method\" is \"eetq\""});
  config_["text_config"]["quantization_config"] = {{"quant_method", 4}};
  expect_error(open(), {"\"quant_method\" is 4"});
}

TEST_F(QuantizationTest, RefusesTwoBlocksThatDiffer) {
  config_["quantization_config"] = block(8, 64);
  expect_error(open(), {"config.json: \"quantization\" and \"quantization_config\" differ"});
  config_["quantization_config"] = block(4, 64);
  EXPECT_TRUE(open().ok());
}

TEST_F(QuantizationTest, ABlockOfAnotherMethodWasLeftOver) {
  for (const Json& other :
       {Json{{"quant_method", "awq"}, {"bits", 4}, {"group_size", 128}},
        Json{{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}},
        Json{{"quant_method", "fp8"}}, Json{{"w_bit", 4}, {"q_group_size", 128}}}) {
    config_["quantization_config"] = other;
    const auto checkpoint = open();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(ir::to_string((*checkpoint)->matrix(kModule)->type.format), "affine b4 g64 f32");
    ASSERT_EQ((*checkpoint)->notes.size(), 1U);
    EXPECT_NE((*checkpoint)->notes[0].find("\"quantization_config\" is not how"),
              std::string::npos);
  }
}

TEST_F(QuantizationTest, OverridesReplaceTheGlobalFormat) {
  add(Packed{8, 32, 128}.tensors("lm_head"));
  config_["quantization"]["lm_head"] = block(8, 32);
  const auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->matrix("lm_head")->type.format.bits, 8);
  EXPECT_EQ((*checkpoint)->matrix("lm_head")->type.format.group, 32);
  EXPECT_EQ((*checkpoint)->matrix(kModule)->type.format.bits, 4);
}

TEST_F(QuantizationTest, OverridesThatLeaveAFieldOutMeanFourBitsAndGroupsOf64) {
  config_["quantization"] = block(8, 32);
  config_["quantization"][kModule] = {{"mode", "affine"}};
  const auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->matrix(kModule)->type.format.bits, 4);
  EXPECT_EQ((*checkpoint)->matrix(kModule)->type.format.group, 64);
}

TEST_F(QuantizationTest, OverrideOfFalseLeavesAModuleDense) {
  config_["quantization"]["model.norm"] = false;
  EXPECT_TRUE(open().ok());
  config_["quantization"][kModule] = false;
  expect_error(open(), {"config.json: ", kModule, "is false", kScales});
}

TEST_F(QuantizationTest, OverridesMayUseTheOtherPrefixes) {
  const struct {
    const char* module;
    const char* name;
  } spellings[] = {
      {"model.language_model.layers.0.q", "language_model.model.layers.0.q"},
      {"language_model.model.layers.0.q", "model.language_model.layers.0.q"},
      {"layers.0.q", "model.layers.0.q"},
      {"model.layers.0.q", "layers.0.q"},
      {"language_model.model.layers.0.q", "model.layers.0.q"},
      {"language_model.lm_head", "lm_head"},
  };
  for (const auto& [module, name] : spellings) {
    tensors_ = Packed{8, 32, 128}.tensors(module);
    config_["quantization"] = block(4, 64);
    config_["quantization"][name] = block(8, 32);
    const auto checkpoint = open();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->matrix(module)->type.format.bits, 8);
  }
}

TEST_F(QuantizationTest, OverridesThatMeanTwoModulesAreRefused) {
  add(Packed{}.tensors("model.q"));
  add(Packed{}.tensors("language_model.q"));
  config_["quantization"]["q"] = block(4, 64);
  expect_error(open(), {"config.json: the quantization override \"q\" may mean", "\"model.q\"",
                        "\"language_model.q\""});
}

TEST_F(QuantizationTest, OverridesThatContradictEachOtherAreRefused) {
  config_["quantization"][kModule] = block(4, 64);
  config_["quantization"]["layers.0.mlp.up_proj"] = block(8, 32);
  expect_error(open(), {"config.json: ", "\"layers.0.mlp.up_proj\"", kModule, "differ"});
}

TEST_F(QuantizationTest, OverridesThatNameNoModuleAreRefused) {
  config_["quantization"]["model.layers.0.mlp.upproj"] = block(4, 64);
  expect_error(
      open(),
      {"config.json: the quantization override \"model.layers.0.mlp.upproj\" names no module"});
  config_["quantization"]["model.layers.0.mlp.upproj"] = true;
  expect_error(open(), {"\"model.layers.0.mlp.upproj\" names no module"});
}

TEST_F(QuantizationTest, OverridesOfPartsThatAreNotThereSayNothing) {
  config_["quantization"]["lm_head"] = false;  // tied
  config_["quantization"]["vision_tower.blocks.0.attn.qkv"] = false;
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_TRUE((*checkpoint)->notes.empty());
  config_["quantization"]["vision_tower.blocks.1.attn.qkv"] = block(8, 32);
  config_["quantization"]["vision_tower.blocks.2.attn.qkv"] = true;
  checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  ASSERT_EQ((*checkpoint)->notes.size(), 1U);
  EXPECT_NE((*checkpoint)->notes[0].find("\"vision_tower.blocks.2.attn.qkv\""), std::string::npos);
  EXPECT_EQ((*checkpoint)->matrix(kModule)->type.format.bits, 4);
}

TEST_F(QuantizationTest, OverrideOfTrueOrNullIsTheGlobalFormat) {
  for (const Json& value : {Json(true), Json(nullptr)}) {
    config_["quantization"][kModule] = value;
    const auto checkpoint = open();
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(ir::to_string((*checkpoint)->matrix(kModule)->type.format), "affine b4 g64 f32");
  }
  config_["quantization"]["model.norm"] = nullptr;
  EXPECT_TRUE(open().ok());
  config_["quantization"]["model.norm"] = true;
  expect_error(open(), {"\"model.norm\"", "tensor \"model.norm.scales\" is missing"});
}

TEST_F(QuantizationTest, OverridesOfAnotherTypeAreRefused) {
  config_["quantization"][kModule] = 8;
  expect_error(open(), {"config.json: ", kModule, "is 8, expected an object, true, false or null"});
  config_["quantization"][kModule] = {{"bits", 4}, {"zeros", true}};
  expect_error(open(), {"config.json: ", kModule, "zeros\" is an unknown field"});
  config_["quantization"][kModule] = {{"bits", 7}};
  expect_error(open(), {kModule, ".bits\" is 7"});
}

TEST_F(QuantizationTest, OverrideOfADenseModuleIsRefused) {
  config_["quantization"]["model.norm"] = block(4, 64);
  expect_error(open(),
               {"config.json: ", "\"model.norm\"", "tensor \"model.norm.scales\" is missing"});
}

TEST_F(QuantizationTest, ScalesWithoutABlockAreRefused) {
  config_.erase("quantization");
  expect_error(open(),
               {"model.safetensors: tensor", kScales, "config.json has no \"quantization\""});
}

TEST_F(QuantizationTest, MissingPartsAreNamed) {
  const std::vector<TestTensor> all = tensors_;
  remove(kBiases);
  expect_error(open(), {"model.safetensors: tensor", kBiases, "is missing"});
  tensors_ = all;
  remove(kWeight);
  expect_error(open(), {"model.safetensors: tensor", kWeight, "is missing"});
  tensors_ = all;
  remove(kScales);
  expect_error(open(), {"model.safetensors: tensor", kBiases, kScales, "is missing"});
  remove(kBiases);
  expect_error(open(), {"model.safetensors: tensor", kWeight, "U32", kScales, "is missing"});
}

TEST_F(QuantizationTest, WrongDtypesAreNamed) {
  tensor(kWeight).dtype = "I32";
  expect_error(open(), {"model.safetensors: tensor", kWeight, "is I32, expected U32"});
  tensor(kWeight).dtype = "U32";
  tensor(kScales).dtype = "I32";
  expect_error(open(), {"model.safetensors: tensor", kScales, "is I32, expected F16, BF16 or F32"});
  tensor(kScales) = {kScales, "U8", {2, 2}, "abcd"};
  expect_error(open(), {kScales, "is U8", "mxfp4, mxfp8 and nvfp4"});
}

TEST_F(QuantizationTest, BiasesMustBeLikeTheScales) {
  tensor(kBiases) = {kBiases, "F16", {2, 2}, std::string(8, '\0')};
  expect_error(open(),
               {"model.safetensors: tensor", kBiases, "is F16 [2, 2], expected F32 [2, 2]"});
  tensor(kBiases) = f32_tensor(kBiases, {2, 1}, {0, 0});
  expect_error(open(), {kBiases, "is F32 [2, 1], expected F32 [2, 2]"});
}

TEST_F(QuantizationTest, ShapesMustFitBitsAndGroups) {
  config_["quantization"] = block(8, 64);
  expect_error(open(), {"model.safetensors: tensor", kWeight, "16 words per row", "2 groups of 64",
                        "config.json"});
  config_["quantization"] = block(4, 32);
  expect_error(open(), {kWeight, "2 groups of 32"});
  config_["quantization"] = block(4, 64);
  tensor(kScales) = f32_tensor(kScales, {4, 1}, {1, 1, 1, 1});
  tensor(kBiases) = f32_tensor(kBiases, {4, 1}, {1, 1, 1, 1});
  expect_error(open(), {"model.safetensors: tensor", kScales, "[4, 1]", kWeight, "[2, 16]"});
}

TEST_F(QuantizationTest, ScalesAndBiasesMustBeFinite) {
  const float bad[] = {NAN, INFINITY, -INFINITY};
  for (const char* name : {kScales, kBiases}) {
    for (const float value : bad) {
      const std::string good = tensor(name).bytes;
      tensor(name).bytes = good.substr(0, 8) + bytes_of<float>({1, value});
      expect_error(open(), {"model.safetensors: tensor", name, "at row 1, group 1"});
      tensor(name).bytes = good;
    }
  }
  const struct {
    const char* dtype;
    uint16_t largest, infinity, nan;
  } types[] = {{"F16", 0x7BFF, 0xFC00, 0x7C01}, {"BF16", 0x7F7F, 0xFF80, 0x7F81}};
  for (const auto& type : types) {
    tensor(kBiases) = {kBiases, type.dtype, {2, 2}, std::string(8, '\0')};
    const auto with = [&](uint16_t value) {
      tensor(kScales) = {kScales, type.dtype, {2, 2}, bytes_of<uint16_t>({0, value, 0, 0})};
      return open();
    };
    EXPECT_TRUE(with(type.largest).ok());
    expect_error(with(type.infinity), {kScales, "is -inf at row 0, group 1"});
    expect_error(with(type.nan), {kScales, "nan at row 0, group 1"});
  }
}

TEST_F(QuantizationTest, ExpertsAreStackedMatrices) {
  for (const char* name : {kWeight, kScales, kBiases}) {
    tensor(name).shape = {2, 1, tensor(name).shape.back()};
  }
  const auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto matrix = (*checkpoint)->matrix(kModule);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->type.shape, (std::vector<int64_t>{2, 1, 128}));
  std::vector<float> row(128);
  ir::decode_row(*matrix, 1, row.data());
  EXPECT_EQ(row[67], 4 * 3 - 3.5F);
}

// The modes with scales of one byte, and a matrix of 1 x 32 in each.
struct ByteMode {
  const char* name;
  int bits;
  int group;
  uint8_t one;  // the scale 1
  uint8_t nan;
};
constexpr ByteMode kByteModes[] = {
    {"mxfp4", 4, 32, 127, 255}, {"mxfp8", 8, 32, 127, 255}, {"nvfp4", 4, 16, 0x38, 0xFF}};

class ByteScales : public QuantizationTest, public testing::WithParamInterface<ByteMode> {
 protected:
  ByteScales() {
    const ByteMode& mode = GetParam();
    config_["quantization"] = {{"mode", mode.name}};
    const auto groups = static_cast<int64_t>(32 / mode.group);
    std::string codes;  // bytes that count up, low codes first
    for (int i = 0; i < 4 * mode.bits; ++i) {
      codes += static_cast<char>(mode.bits == 8 ? i : (2 * i & 15) | ((2 * i + 1) & 15) << 4);
    }
    tensors_ = {{kWeight, "U32", {1, mode.bits}, codes},
                {kScales,
                 "U8",
                 {1, groups},
                 std::string(static_cast<size_t>(groups), static_cast<char>(mode.one))}};
  }
  std::vector<float> row() {
    const auto checkpoint = open();
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    if (!checkpoint.ok()) return std::vector<float>(32);
    const auto matrix = (*checkpoint)->matrix(kModule);
    EXPECT_TRUE(matrix.ok() && matrix->type.shape == (std::vector<int64_t>{1, 32}));
    std::vector<float> row(32);
    if (matrix.ok()) ir::decode_row(*matrix, 0, row.data());
    return row;
  }
};

TEST_P(ByteScales, DecodeByTheTablesOfTheirMode) {
  const std::vector<float> fp4 = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};
  const std::vector<float> numbers = row();
  for (size_t i = 0; i < 32; ++i) {
    const float fp8 = i < 8
                          ? std::ldexp(static_cast<float>(i), -9)
                          : std::ldexp(static_cast<float>(8 + i % 8), static_cast<int>(i / 8) - 10);
    EXPECT_EQ(numbers[i], GetParam().bits == 8 ? fp8 : fp4[i % 16]) << i;
  }
  tensor(kScales).bytes.back() = GetParam().group == 16 ? 0x40 : static_cast<char>(128);
  EXPECT_EQ(row()[31], 2 * numbers[31]);
}

TEST_P(ByteScales, OneWidthAndOneGroupBelongToAMode) {
  const ByteMode& mode = GetParam();
  config_["quantization"]["bits"] = mode.bits;
  config_["quantization"]["group_size"] = mode.group;
  EXPECT_TRUE(open().ok());
  config_["quantization"]["group_size"] = 64;
  expect_error(open(), {"config.json: \"quantization.group_size\" is 64, supported are "});
  config_["quantization"]["group_size"] = mode.group;
  config_["quantization"]["bits"] = 6;
  expect_error(open(), {"config.json: \"quantization.bits\" is 6, supported are "});
}

TEST_P(ByteScales, OverridesNameTheirMode) {
  config_["quantization"] = block(8, 64);
  config_["quantization"]["layers.0.mlp.up_proj"] = {{"mode", GetParam().name}};
  EXPECT_EQ(row()[2], GetParam().bits == 8 ? std::ldexp(2.0F, -9) : 1);
}

TEST_P(ByteScales, ModeAndScalesMustAgree) {
  config_["quantization"] = block(4, 32);
  expect_error(open(), {"model.safetensors: tensor", kScales, "is U8, expected F16, BF16 or F32",
                        "config.json says affine"});
  config_["quantization"] = {{"mode", GetParam().name}};
  tensor(kScales) = f32_tensor(kScales, {1, 32 / GetParam().group}, {1, 1});
  tensor(kScales).bytes.resize(static_cast<size_t>(32 / GetParam().group * 4));
  expect_error(open(), {"model.safetensors: tensor", kScales, "is F32, expected U8",
                        std::string("the mode of this module is ") + GetParam().name});
}

TEST_P(ByteScales, ScalesThatAreNaNAreRefused) {
  tensor(kScales).bytes.back() = static_cast<char>(GetParam().nan);
  expect_error(open(), {"model.safetensors: tensor", kScales, "nan at row 0"});
}

TEST_P(ByteScales, BiasesBelongToAffine) {
  add({f32_tensor(kBiases, {1, 1}, {0})});
  expect_error(open(), {"model.safetensors: tensor", kBiases, "have no biases"});
}

INSTANTIATE_TEST_SUITE_P(Modes, ByteScales, testing::ValuesIn(kByteModes),
                         [](const auto& mode) { return std::string(mode.param.name); });

TEST_F(QuantizationTest, CodesOfEightBitFloatsThatAreNaNAreRefused) {
  config_["quantization"] = {{"mode", "mxfp8"}};
  for (const char nan : {'\x7f', '\xff'}) {
    std::string codes(32, '\x7e');
    codes[5] = nan;
    tensors_ = {{kWeight, "U32", {1, 8}, codes}, {kScales, "U8", {1, 1}, "\x7f"}};
    expect_error(open(), {"model.safetensors: tensor", kWeight, "the NaN of E4M3, at byte 5"});
  }
}

TEST_F(QuantizationTest, Nvfp4MayHaveAScaleOfTheMatrix) {
  config_["quantization"] = {{"mode", "nvfp4"}};
  tensors_ = {{kWeight, "U32", {1, 2}, std::string(8, '\x22')},
              {kScales, "U8", {1, 1}, "\x38"},
              f32_tensor("model.layers.0.mlp.up_proj.global_scale", {1}, {448 * 6 * 0.25F})};
  const auto checkpoint = open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  std::vector<float> row(16);
  ir::decode_row(*(*checkpoint)->matrix(kModule), 0, row.data());
  EXPECT_EQ(row[3], 0.25F);
  tensors_.back() = f32_tensor(tensors_.back().name, {1}, {INFINITY});
  expect_error(open(), {"model.safetensors: tensor", "global_scale\" is inf"});
}

}  // namespace
}  // namespace sinter::frontends
