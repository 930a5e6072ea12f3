// Modules of random numbers, packed by the rules of AWQ, GPTQ and compressed-tensors.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/frontends/model_folder.h"

namespace sinter::frontends {

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
  // Scales lie in [-size, size).
  Quantized& fill(uint32_t min_zero, uint32_t max_zero, float size = 1, uint32_t seed = 17) {
    uint32_t state = seed;
    const uint32_t largest = (1U << bits) - 1U;
    codes.resize(static_cast<size_t>(rows * cols));
    zeros.resize(static_cast<size_t>(groups() * rows));
    scales.resize(zeros.size());
    numbers.resize(codes.size());
    for (uint32_t& code : codes) code = next_number(state) & largest;
    for (uint32_t& zero : zeros) zero = min_zero + next_number(state) % (max_zero - min_zero + 1);
    for (float& scale : scales)
      scale = size * (static_cast<float>(next_number(state) % 64) / 32 - 1);
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
inline std::string awq_words(const std::vector<uint32_t>& numbers) {
  constexpr std::array<int64_t, 8> kOrder = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<uint32_t> words(numbers.size() / 8);
  for (size_t w = 0; w < words.size(); ++w) {
    const auto first = static_cast<int64_t>(w) * 8;
    for (size_t i = 0; i < 8; ++i)
      words[w] |= numbers[static_cast<size_t>(first + kOrder[i])] << (4 * i);
  }
  return bytes_of(words);
}

inline std::vector<TestTensor> awq_tensors(const Quantized& q, const std::string& module) {
  std::vector<uint32_t> transposed;
  for (int64_t c = 0; c < q.cols; ++c)
    for (int64_t r = 0; r < q.rows; ++r)
      transposed.push_back(q.codes[static_cast<size_t>(r * q.cols + c)]);
  return {{module + ".qweight", "I32", {q.cols, q.rows / 8}, awq_words(transposed)},
          {module + ".qzeros", "I32", {q.groups(), q.rows / 8}, awq_words(q.zeros)},
          f32_tensor(module + ".scales", {q.groups(), q.rows}, q.scales)};
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
inline std::vector<TestTensor> gptq_tensors(const Quantized& q, uint32_t less,
                                            const std::string& module) {
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
  return {{module + ".qweight", "I32", {q.cols * q.bits / 32, q.rows}, bytes_of(weight)},
          {module + ".qzeros", "I32", {q.groups(), zero_words}, bytes_of(zeros)},
          f32_tensor(module + ".scales", {q.groups(), q.rows}, q.scales),
          {module + ".g_idx", "I32", {q.cols}, bytes_of(index)}};
}

// The words of compressed-tensors' pack-quantized: numbers, `stride` of which lie between those of
// a word, first those in the low bits; the last word is filled with zeros.
inline std::vector<uint32_t> packed_words(const std::vector<uint32_t>& numbers, int bits,
                                          int64_t stride) {
  const int64_t per_word = 32 / bits;
  const auto length = static_cast<int64_t>(numbers.size()) / stride;
  std::vector<uint32_t> words(static_cast<size_t>((length + per_word - 1) / per_word * stride));
  for (int64_t i = 0; i < length; ++i)
    for (int64_t s = 0; s < stride; ++s)
      words[static_cast<size_t>(i / per_word * stride + s)] |=
          numbers[static_cast<size_t>(i * stride + s)] << (i % per_word * bits);
  return words;
}

// Rows of codes in words of their own; zeros are packed down the rows, a stream per group.
inline std::vector<TestTensor> pack_quantized_tensors(const Quantized& q,
                                                      const std::string& module) {
  std::vector<uint32_t> words;
  for (int64_t r = 0; r < q.rows; ++r) {
    const auto row = q.codes.begin() + r * q.cols;
    const auto packed = packed_words({row, row + q.cols}, q.bits, 1);
    words.insert(words.end(), packed.begin(), packed.end());
  }
  std::vector<uint32_t> zeros;
  std::vector<float> scales;
  for (int64_t r = 0; r < q.rows; ++r) {
    for (int64_t g = 0; g < q.groups(); ++g) {
      const auto at = static_cast<size_t>(g * q.rows + r);
      zeros.push_back(q.zeros[at]);
      scales.push_back(q.scales[at]);
    }
  }
  const auto zero_words = packed_words(zeros, q.bits, q.groups());
  return {{module + ".weight_packed",
           "I32",
           {q.rows, static_cast<int64_t>(words.size()) / q.rows},
           bytes_of(words)},
          f32_tensor(module + ".weight_scale", {q.rows, q.groups()}, scales),
          {module + ".weight_zero_point",
           "I32",
           {static_cast<int64_t>(zero_words.size()) / q.groups(), q.groups()},
           bytes_of(zero_words)},
          {module + ".weight_shape", "I64", {2}, bytes_of<int64_t>({q.rows, q.cols})}};
}

}  // namespace sinter::frontends
