// AWQ and GPTQ checkpoints made here by the rules of their tools.
#include "frontends/quantized/awq_gptq.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "frontends/quantize/mlx_form.h"
#include "tests/frontends/quantized/packed_modules.h"

namespace sinter::frontends {
namespace {

constexpr const char* kModule = "model.layers.0.mlp.up_proj";

std::string part(const char* suffix) { return std::string(kModule) + suffix; }

Json block(const char* method, int bits, int64_t group) {
  return {{"quant_method", method}, {"bits", bits}, {"group_size", group}};
}

class AwqTest : public testing::Test {
 protected:
  AwqTest() {
    folder_.config["quantization_config"] = block("awq", 4, 32);
    folder_.tensors = awq_tensors(quantized_.fill(0, 15), kModule);
    folder_.tensors.push_back(f32_tensor("lm_head.weight", {1, 2}, {1, 2}));
  }
  Quantized quantized_{16, 96, 32, 4};
  ModelFolder folder_;
  Json& block_ = folder_.config["quantization_config"];
};

TEST_F(AwqTest, CodesZerosAndScalesAreFound) {
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  EXPECT_EQ(format_of(folder_, kModule), "shifted b4 g32 f32");
  EXPECT_EQ(format_of(folder_, "lm_head"), "f32");
  block_["version"] = "gemm";
  block_["zero_point"] = true;
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_F(AwqTest, AWordHoldsRowsInItsOwnOrder) {
  block_["group_size"] = -1;
  folder_.tensors = {{part(".qweight"), "I32", {1, 1}, bytes_of<uint32_t>({0x75316420})},
                     {part(".qzeros"), "I32", {1, 1}, bytes_of<uint32_t>({0x00000010})},
                     f32_tensor(part(".scales"), {1, 8}, {1, 1, 1, 1, 1, 1, 1, 1})};
  // Nibble 1 of the zeros is that of row 2.
  EXPECT_EQ(numbers_of(folder_, kModule), (std::vector<float>{0, 1, 1, 3, 4, 5, 6, 7}));
}

TEST_F(AwqTest, ZerosThatAreOneNumberMakeItSymmetric) {
  folder_.tensors = awq_tensors(quantized_.fill(8, 8), kModule);
  EXPECT_EQ(format_of(folder_, kModule), "symmetric b4 z8 g32 f32");
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  folder_.remove(part(".qzeros"));
  expect_error(folder_.open(), {"model.safetensors: tensor", part(".qzeros"), "is missing"});
  block_["zero_point"] = false;
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_F(AwqTest, OlderToolsNameFieldsInTheirOwnWay) {
  const Json old = {{"zero_point", true}, {"q_group_size", 32}, {"w_bit", 4}, {"version", "GEMM"}};
  for (const char* method : {"awq", "AWQ", ""}) {
    block_ = old;
    if (*method != '\0') block_["quant_method"] = method;
    EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers) << method;
  }
  block_["bits"] = 8;
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.bits\" is 8, but \"w_bit\" is 4"});
}

TEST_F(AwqTest, TheBlockMayBeAFileOfItsOwn) {
  folder_.config.erase("quantization_config");
  expect_error(folder_.open(),
               {"model.safetensors: tensor", ".qweight", "no \"quantization_config\"",
                "neither quantize_config.json nor quant_config.json is there"});
  folder_.dir.write("quant_config.json", R"({"zero_point": true, "q_group_size": 32, "w_bit": 4,
      "version": "GEMM"})");
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  folder_.dir.write("quant_config.json", R"({"q_group_size": 32, "w_bit": 3})");
  expect_error(folder_.open(), {"quant_config.json: \"w_bit\" is 3, supported are 4"});
  folder_.dir.write("quant_config.json", R"({"q_group_size": 40, "w_bit": 4})");
  expect_error(folder_.open(), {"the group_size 40 of quant_config.json does not divide them"});
  folder_.config["quantization_config"] = block("awq", 4, 32);  // is asked first
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_F(AwqTest, OtherVersionsAndWidthsAreRefused) {
  block_["version"] = "gemv";
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.version\" is \"gemv\", which is "
                "not supported; supported is \"gemm\""});
  block_ = block("awq", 3, 32);
  expect_error(folder_.open(), {"config.json: \"quantization_config.bits\" is 3, supported are 4"});
  block_ = block("awq", 4, 0);
  expect_error(folder_.open(), {"config.json: \"quantization_config.group_size\" is 0"});
  block_ = block("awq", 4, 40);
  expect_error(folder_.open(),
               {"model.safetensors: tensor", ".qweight", "96 columns", "group_size 40"});
  block_ = block("awq", 4, 48);
  expect_error(folder_.open(),
               {"model.safetensors: tensor", ".scales", "is F32 [3, 16], expected F32 [2, 16]"});
}

TEST_F(AwqTest, BiasesThatHaveNoExactFormSayWhatToQuantizeAgain) {
  // 0.1 as F16; times 7 it needs more bits than there are.
  std::vector<uint16_t> scales(static_cast<size_t>(quantized_.groups() * quantized_.rows), 0x2E66);
  quantized_.fill(7, 8);
  folder_.tensors = awq_tensors(quantized_, kModule);
  folder_.tensor(part(".scales")) = {
      part(".scales"), "F16", {quantized_.groups(), quantized_.rows}, bytes_of(scales)};
  const auto checkpoint = folder_.open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto matrix = (*checkpoint)->matrix(kModule);
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  expect_error(to_mlx_form(kModule, *matrix).status(),
               {kModule,
                "has no exact f16 form; quantize it again, with --quantize "
                "'*up_proj=affine:8:32'"});
}

TEST_F(AwqTest, TensorsThatDoNotFitAreNamed) {
  const std::vector<TestTensor> good = folder_.tensors;
  folder_.tensor(part(".qweight")).dtype = "U32";
  expect_error(folder_.open(),
               {"model.safetensors: tensor", ".qweight", "is U32 [96, 2], expected I32"});
  folder_.tensors = good;
  folder_.tensor(part(".qzeros")).shape = {2, 3};
  expect_error(folder_.open(), {"model.safetensors: tensor", ".qzeros", "expected I32 [3, 2]"});
  folder_.tensors = good;
  folder_.tensor(part(".scales")).bytes.replace(4, 4, bytes_of<float>({INFINITY}));
  expect_error(folder_.open(), {"model.safetensors: tensor", ".scales", "inf at row 0, group 1"});
  folder_.remove(part(".scales"));
  expect_error(folder_.open(), {"model.safetensors: tensor", ".scales", "is missing"});
}

class GptqTest : public testing::TestWithParam<int> {
 protected:
  GptqTest() {
    folder_.config["quantization_config"] = block("gptq", GetParam(), 32);
    folder_.tensors = gptq_tensors(quantized_.fill(1, (1U << GetParam()) - 1U), 1, kModule);
  }
  Quantized quantized_{32, 96, 32, GetParam()};
  ModelFolder folder_;
  Json& block_ = folder_.config["quantization_config"];
};

TEST_P(GptqTest, ZerosAreStoredLessOne) {
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  EXPECT_EQ(format_of(folder_, kModule), fmt::format("shifted b{} g32 f32", GetParam()));
  block_["checkpoint_format"] = "gptq";
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_P(GptqTest, ZerosOfVersionTwoAreStoredAsTheyAre) {
  folder_.tensors = gptq_tensors(quantized_.fill(0, (1U << GetParam()) - 1U), 0, kModule);
  block_["checkpoint_format"] = "gptq_v2";
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_P(GptqTest, ZerosThatAreOneNumberMakeItSymmetric) {
  const uint32_t middle = 1U << (GetParam() - 1);
  folder_.tensors = gptq_tensors(quantized_.fill(middle, middle), 1, kModule);
  EXPECT_EQ(format_of(folder_, kModule),
            fmt::format("symmetric b{} z{} g32 f32", GetParam(), middle));
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_P(GptqTest, ZerosThatDoNotFitAreRefused) {
  for (char& byte : folder_.tensor(part(".qzeros")).bytes) byte = '\xff';
  expect_error(folder_.open(), {"model.safetensors: tensor", ".qzeros",
                                fmt::format("holds {} for row 0", (1 << GetParam()) - 1)});
}

INSTANTIATE_TEST_SUITE_P(Bits, GptqTest, testing::Values(2, 3, 4, 8),
                         [](const auto& bits) { return "b" + std::to_string(bits.param); });

class Gptq4Test : public testing::Test {
 protected:
  Gptq4Test() {
    folder_.config["quantization_config"] = block("gptq", 4, 32);
    folder_.tensors = gptq_tensors(quantized_.fill(1, 15), 1, kModule);
  }
  Quantized quantized_{8, 64, 32, 4};
  ModelFolder folder_;
  Json& block_ = folder_.config["quantization_config"];
};

TEST_F(Gptq4Test, AColumnOfWordsIsAStreamOfCodes) {
  // Codes of three bits that count up cross the words' borders.
  block_ = block("gptq", 3, -1);
  block_["checkpoint_format"] = "gptq_v2";
  std::vector<uint32_t> words;
  for (const uint32_t word : {0x88fac688U, 0xc688fac6U, 0xfac688faU})
    words.insert(words.end(), 32, word);
  folder_.tensors = {{part(".qweight"), "I32", {3, 32}, bytes_of(words)},
                     {part(".qzeros"), "I32", {1, 3}, std::string(12, '\0')},
                     f32_tensor(part(".scales"), {1, 32}, std::vector<float>(32, 1))};
  const std::vector<float> numbers = numbers_of(folder_, kModule);
  ASSERT_EQ(numbers.size(), 32U * 32U);
  for (size_t i = 0; i < numbers.size(); ++i) ASSERT_EQ(numbers[i], static_cast<float>(i % 8)) << i;
}

TEST_F(Gptq4Test, SortedColumnsAreRefused) {
  block_["desc_act"] = true;
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);  // the order is the plain one
  folder_.tensor(part(".g_idx")).bytes[4] = 1;
  expect_error(folder_.open(), {"model.safetensors: tensor", ".g_idx", "puts column 1 into group 1",
                                "desc_act", "not supported"});
  folder_.remove(part(".g_idx"));
  expect_error(folder_.open(), {"config.json: \"quantization_config.desc_act\" is true", ".g_idx"});
  block_["desc_act"] = false;
  EXPECT_TRUE(folder_.open().ok());
}

TEST_F(Gptq4Test, OtherToolsNameFieldsInTheirOwnWay) {
  block_ = {{"wbits", 4}, {"groupsize", 32}, {"damp_percent", 0.01}};
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  block_ = block("GPTQ", 4, 32);
  block_["format"] = "gptq";
  block_["dynamic"] = {{"-:.*lm_head", Json::object()}};
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  folder_.tensors = gptq_tensors(quantized_, 0, kModule);
  block_["format"] = "gptq_v2";
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  block_["checkpoint_format"] = "gptq";
  expect_error(folder_.open(), {"\"quantization_config.checkpoint_format\" is \"gptq\", but "
                                "\"format\" is \"gptq_v2\""});
}

TEST_F(Gptq4Test, ModulesMayHaveBitsAndGroupsOfTheirOwn) {
  Quantized eight{32, 64, 64, 8}, two{16, 64, 16, 2};
  for (const auto& [q, name] :
       {std::pair(&eight.fill(1, 255), "eight"), std::pair(&two.fill(1, 3), "two")})
    for (TestTensor& tensor : gptq_tensors(*q, 1, name))
      folder_.tensors.push_back(std::move(tensor));
  expect_error(folder_.open(), {"model.safetensors: tensor", "eight", "expected"});
  block_["dynamic"] = {{"+:eight", {{"bits", 8}, {"group_size", 64}, {"mse", 0.1}}},
                       {"two", {{"bits", 2}, {"group_size", 16}, {"desc_act", false}}}};
  block_["desc_act"] = false;
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  EXPECT_EQ(numbers_of(folder_, "eight"), eight.numbers);
  EXPECT_EQ(numbers_of(folder_, "two"), two.numbers);
  EXPECT_EQ(format_of(folder_, "eight"), "shifted b8 g64 f32");
}

TEST_F(Gptq4Test, TheBlockMayBeAFileOfItsOwn) {
  folder_.config.erase("quantization_config");
  folder_.dir.write("quantize_config.json", R"({"bits": 4, "group_size": 32, "desc_act": false})");
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  folder_.dir.write("quantize_config.json", R"({"bits": 4, "group_size": 32})");  // by its g_idx
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  const auto checkpoint = folder_.open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto& sources = (*checkpoint)->sources;
  EXPECT_TRUE(std::any_of(sources.begin(), sources.end(), [](const runtime::SourceFile& source) {
    return source.path.ends_with("/quantize_config.json");
  }));
}

TEST_F(Gptq4Test, BiasesOfZerosBesideEveryMatrixSayNothing) {
  folder_.tensors.push_back(f32_tensor(part(".bias"), {8}, std::vector<float>(8)));
  folder_.tensors.push_back(f32_tensor("other.bias", {8}, std::vector<float>(8)));
  const auto checkpoint = folder_.open();
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  (*checkpoint)->drop_zero_biases({kModule});
  EXPECT_FALSE((*checkpoint)->has(part(".bias")));
  EXPECT_TRUE((*checkpoint)->has("other.bias"));  // of a module that is not used either
  folder_.tensor(part(".bias")).bytes[30] = 1;
  const auto other = folder_.open();
  ASSERT_TRUE(other.ok()) << other.status();
  (*other)->drop_zero_biases({kModule});
  expect_error((*other)->check_all_used({kModule}), {"2 tensors are not used", part(".bias")});
  (*other)->drop_zero_biases({kModule, part(".bias")});
  EXPECT_TRUE((*other)->has(part(".bias")));
}

// Zeros of symmetric weights are the middle of the codes, in either version of the format.
class GptqZeros : public testing::TestWithParam<int> {
 protected:
  GptqZeros() : middle_(1U << (GetParam() - 1)) {
    folder_.config["quantization_config"] = block("gptq", GetParam(), 32);
    store(middle_, 1);
  }
  // Every zero is `zero`, stored less `less`.
  void store(uint32_t zero, uint32_t less) {
    folder_.tensors = gptq_tensors(quantized_.fill(zero, zero), less, kModule);
  }
  std::string middle_format() const {
    return fmt::format("symmetric b{} z{} g32 f32", GetParam(), middle_);
  }
  uint32_t middle_;
  Quantized quantized_{32, 96, 32, GetParam()};
  ModelFolder folder_;
  Json& block_ = folder_.config["quantization_config"];
};

TEST_P(GptqZeros, OfSymmetricWeightsAreTheMiddleWhateverTheFormatIsCalled) {
  for (const char* format : {"gptq", "gptq_v2"}) {
    block_["checkpoint_format"] = format;
    for (const uint32_t less : {0U, 1U}) {
      for (const bool says_symmetric : {true, false}) {
        block_.erase("sym");
        if (says_symmetric) block_["sym"] = true;
        store(middle_, less);
        EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers) << format << less;
        EXPECT_EQ(format_of(folder_, kModule), middle_format()) << format << less;
        const auto checkpoint = folder_.open();
        ASSERT_TRUE(checkpoint.ok());
        const bool mislabelled = (std::string(format) == "gptq") != (less == 1);
        EXPECT_EQ((*checkpoint)->notes.size(), mislabelled ? 1U : 0U);
      }
    }
  }
}

TEST_P(GptqZeros, OfSymmetricWeightsMayBeLeftOut) {
  folder_.remove(part(".qzeros"));
  expect_error(folder_.open(), {part(".qzeros"), "is missing"});
  block_["sym"] = true;
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_P(GptqZeros, ThatContradictSymIsTrueAreRefused) {
  block_["sym"] = true;
  store(middle_ + 1, 0);
  expect_error(folder_.open(),
               {"model.safetensors: tensor", part(".qzeros"),
                fmt::format("the zero point {} everywhere", middle_ + 1),
                fmt::format("\"quantization_config.sym\" is true, which means {}", middle_)});
  folder_.tensors = gptq_tensors(quantized_.fill(1, 2 * middle_ - 1), 1, kModule);
  expect_error(folder_.open(), {part(".qzeros"), "for row", "is true, which means"});
  block_["sym"] = false;
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_P(GptqZeros, ThatAreTheMiddleOfTheOtherFormatContradictSymIsFalse) {
  block_["sym"] = false;
  EXPECT_EQ(format_of(folder_, kModule), middle_format());
  store(middle_, 0);
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.sym\" is false",
                "\"checkpoint_format\" is \"gptq\"", fmt::format("stored as {}", middle_)});
  block_["checkpoint_format"] = "gptq_v2";
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  // One matrix alone may have the same zero everywhere.
  block_["checkpoint_format"] = "gptq";
  store(middle_ + 1, 1);
  const std::vector<float> numbers = quantized_.numbers;
  Quantized second{32, 96, 32, GetParam()};
  for (TestTensor& tensor : gptq_tensors(second.fill(1, 2), 1, "second"))
    folder_.tensors.push_back(std::move(tensor));
  EXPECT_EQ(numbers_of(folder_, kModule), numbers);
  EXPECT_EQ(numbers_of(folder_, "second"), second.numbers);
}

INSTANTIATE_TEST_SUITE_P(Bits, GptqZeros, testing::Values(2, 3, 4, 8),
                         [](const auto& bits) { return "b" + std::to_string(bits.param); });

TEST_F(Gptq4Test, OtherFormatsAndWidthsAreRefused) {
  block_["checkpoint_format"] = "marlin";
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.checkpoint_format\" is \"marlin\", "
                "which is not supported"});
  block_ = block("gptq", 4, 32);
  block_["dynamic"] = {{"+:.*up_proj", {{"sym", false}}}, {"-:lm_head", Json::object()}};
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.dynamic\" has \"sym\" false for "
                "\"+:.*up_proj\", which is not supported"});
  block_ = block("gptq", 5, 32);
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.bits\" is 5, supported are 2, 3, 4, 8"});
  block_ = block("gptq", 8, 32);
  expect_error(folder_.open(), {"model.safetensors: tensor", "expected"});
}

}  // namespace
}  // namespace sinter::frontends
