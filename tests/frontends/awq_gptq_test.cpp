// AWQ and GPTQ checkpoints made here by the rules of their tools.
#include "frontends/awq_gptq.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "tests/frontends/model_folder.h"

namespace sinter::frontends {
namespace {

constexpr const char* kModule = "model.layers.0.mlp.up_proj";

std::string part(const char* suffix) { return std::string(kModule) + suffix; }

// Random codes, zeros and scales of a module, and the numbers that they stand for.
struct Quantized {
  int64_t rows;
  int64_t cols;
  int64_t group;
  int bits;
  std::vector<uint32_t> codes = {};  // [rows, cols]
  std::vector<uint32_t> zeros = {};  // [groups, rows]
  std::vector<float> scales = {};    // [groups, rows]
  std::vector<float> numbers = {};   // [rows, cols]

  int64_t groups() const { return cols / group; }
  Quantized& fill(uint32_t min_zero, uint32_t max_zero) {
    uint32_t state = 17;
    const uint32_t largest = (1U << bits) - 1U;
    codes.resize(static_cast<size_t>(rows * cols));
    zeros.resize(static_cast<size_t>(groups() * rows));
    scales.resize(zeros.size());
    numbers.resize(codes.size());
    for (uint32_t& code : codes) code = next_number(state) & largest;
    for (uint32_t& zero : zeros) zero = min_zero + next_number(state) % (max_zero - min_zero + 1);
    for (float& scale : scales) scale = static_cast<float>(next_number(state) % 64) / 32 - 1;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const auto at = static_cast<size_t>(c / group * rows + r);
        const auto i = static_cast<size_t>(r * cols + c);
        numbers[i] = scales[at] * (static_cast<float>(codes[i]) - static_cast<float>(zeros[at]));
      }
    }
    return *this;
  }
};

// AutoAWQ's packing of rows of numbers along their second dimension.
std::string awq_words(const std::vector<uint32_t>& numbers) {
  constexpr std::array<int64_t, 8> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<uint32_t> words(numbers.size() / 8);
  for (size_t w = 0; w < words.size(); ++w) {
    const auto first = static_cast<int64_t>(w) * 8;
    for (size_t i = 0; i < 8; ++i)
      words[w] |= numbers[static_cast<size_t>(first + kOrder[i])] << (4 * i);
  }
  return bytes_of(words);
}

std::vector<TestTensor> awq_tensors(const Quantized& q) {
  std::vector<uint32_t> transposed;
  for (int64_t c = 0; c < q.cols; ++c)
    for (int64_t r = 0; r < q.rows; ++r)
      transposed.push_back(q.codes[static_cast<size_t>(r * q.cols + c)]);
  return {{part(".qweight"), "I32", {q.cols, q.rows / 8}, awq_words(transposed)},
          {part(".qzeros"), "I32", {q.groups(), q.rows / 8}, awq_words(q.zeros)},
          f32_tensor(part(".scales"), {q.groups(), q.rows}, q.scales)};
}

// An LSB-first stream of `count` numbers from `at(i)` in words that are `stride` apart.
template <class At>
void write_stream(std::vector<uint32_t>& words, int64_t first, int64_t stride, int64_t count,
                  int bits, const At& at) {
  for (int64_t bit = 0; bit < count * bits; ++bit) {
    const uint32_t set = at(bit / bits) >> (bit % bits) & 1U;
    words[static_cast<size_t>(first + bit / 32 * stride)] |= set << (bit % 32);
  }
}

// `less` is what the checkpoint format takes off zeros.
std::vector<TestTensor> gptq_tensors(const Quantized& q, uint32_t less) {
  std::vector<uint32_t> weight(static_cast<size_t>(q.cols * q.bits / 32 * q.rows));
  for (int64_t r = 0; r < q.rows; ++r)
    write_stream(weight, r, q.rows, q.cols, q.bits,
                 [&](int64_t c) { return q.codes[static_cast<size_t>(r * q.cols + c)]; });
  const int64_t zero_words = q.rows * q.bits / 32;
  std::vector<uint32_t> zeros(static_cast<size_t>(q.groups() * zero_words));
  std::vector<int32_t> index;
  for (int64_t g = 0; g < q.groups(); ++g)
    write_stream(zeros, g * zero_words, 1, q.rows, q.bits,
                 [&](int64_t r) { return q.zeros[static_cast<size_t>(g * q.rows + r)] - less; });
  for (int64_t c = 0; c < q.cols; ++c) index.push_back(static_cast<int32_t>(c / q.group));
  return {{part(".qweight"), "I32", {q.cols * q.bits / 32, q.rows}, bytes_of(weight)},
          {part(".qzeros"), "I32", {q.groups(), zero_words}, bytes_of(zeros)},
          f32_tensor(part(".scales"), {q.groups(), q.rows}, q.scales),
          {part(".g_idx"), "I32", {q.cols}, bytes_of(index)}};
}

Json block(const char* method, int bits, int64_t group) {
  return {{"quant_method", method}, {"bits", bits}, {"group_size", group}};
}

class AwqTest : public testing::Test {
 protected:
  AwqTest() {
    folder_.config["quantization_config"] = block("awq", 4, 32);
    folder_.tensors = awq_tensors(quantized_.fill(0, 15));
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
  folder_.tensors = awq_tensors(quantized_.fill(8, 8));
  EXPECT_EQ(format_of(folder_, kModule), "symmetric b4 z8 g32 f32");
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
  folder_.remove(part(".qzeros"));
  expect_error(folder_.open(), {"model.safetensors: tensor", part(".qzeros"), "is missing"});
  block_["zero_point"] = false;
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
    folder_.tensors = gptq_tensors(quantized_.fill(1, (1U << GetParam()) - 1U), 1);
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
  folder_.tensors = gptq_tensors(quantized_.fill(0, (1U << GetParam()) - 1U), 0);
  block_["checkpoint_format"] = "gptq_v2";
  EXPECT_EQ(numbers_of(folder_, kModule), quantized_.numbers);
}

TEST_P(GptqTest, ZerosThatAreOneNumberMakeItSymmetric) {
  const uint32_t middle = 1U << (GetParam() - 1);
  folder_.tensors = gptq_tensors(quantized_.fill(middle, middle), 1);
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
    folder_.tensors = gptq_tensors(quantized_.fill(1, 15), 1);
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

TEST_F(Gptq4Test, OtherFormatsAndWidthsAreRefused) {
  block_["checkpoint_format"] = "marlin";
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.checkpoint_format\" is \"marlin\", "
                "which is not supported"});
  block_ = block("gptq", 4, 32);
  block_["dynamic"] = {{"-:.*", Json::object()}};
  expect_error(folder_.open(), {"config.json: \"quantization_config.dynamic\""});
  block_ = block("gptq", 5, 32);
  expect_error(folder_.open(),
               {"config.json: \"quantization_config.bits\" is 5, supported are 2, 3, 4, 8"});
  block_ = block("gptq", 8, 32);
  expect_error(folder_.open(), {"model.safetensors: tensor", "expected"});
}

}  // namespace
}  // namespace sinter::frontends
