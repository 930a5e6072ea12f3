#include "frontends/gguf/blocks.h"

#include <array>
#include <cmath>
#include <vector>

namespace sinter::frontends {
using ir::CodeMap;
using ir::kIq4Levels;

namespace {

float half(const uint8_t* bytes) { return ir::read_element(ir::DType::f16, bytes, 0); }

int low_nibble(uint8_t byte) { return byte & 15; }
int high_nibble(uint8_t byte) { return byte >> 4; }

// --- plain numbers

template <ir::DType dtype>
void decode_number(const uint8_t* block, float* out) {
  *out = ir::read_element(dtype, block, 0);
}

// --- 32 elements: nibbles j and j + 16 share a byte

void decode_q4_0(const uint8_t* block, float* out) {
  const float d = half(block);
  const uint8_t* qs = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(low_nibble(qs[j]) - 8);
    out[j + 16] = d * static_cast<float>(high_nibble(qs[j]) - 8);
  }
}

void decode_q4_1(const uint8_t* block, float* out) {
  const float d = half(block);
  const float m = half(block + 2);
  const uint8_t* qs = block + 4;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(low_nibble(qs[j])) + m;
    out[j + 16] = d * static_cast<float>(high_nibble(qs[j])) + m;
  }
}

// Bit j of four bytes.
int fifth_bit(const uint8_t* qh, int j) { return (qh[j / 8] >> (j % 8) & 1) << 4; }

void decode_q5_0(const uint8_t* block, float* out) {
  const float d = half(block);
  const uint8_t* qh = block + 2;
  const uint8_t* qs = block + 6;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>((low_nibble(qs[j]) | fifth_bit(qh, j)) - 16);
    out[j + 16] = d * static_cast<float>((high_nibble(qs[j]) | fifth_bit(qh, j + 16)) - 16);
  }
}

void decode_q5_1(const uint8_t* block, float* out) {
  const float d = half(block);
  const float m = half(block + 2);
  const uint8_t* qh = block + 4;
  const uint8_t* qs = block + 8;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(low_nibble(qs[j]) | fifth_bit(qh, j)) + m;
    out[j + 16] = d * static_cast<float>(high_nibble(qs[j]) | fifth_bit(qh, j + 16)) + m;
  }
}

void decode_q8_0(const uint8_t* block, float* out) {
  const float d = half(block);
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(static_cast<int8_t>(block[2 + j]));
}

// --- 256 elements: sub-blocks of 16 or 32 with small scales under one or two f16

// {scales[16], qs[64], d, dmin}: nibbles of a scale are the multipliers of d and of dmin.
void decode_q2_k(const uint8_t* block, float* out) {
  const uint8_t* scales = block;
  const uint8_t* qs = block + 16;
  const float d = half(block + 80);
  const float dmin = half(block + 82);
  for (int e = 0; e < 256; ++e) {
    const int code = qs[e / 128 * 32 + e % 32] >> (2 * (e % 128 / 32)) & 3;
    const uint8_t scale = scales[e / 16];
    out[e] = d * static_cast<float>(low_nibble(scale)) * static_cast<float>(code) -
             dmin * static_cast<float>(high_nibble(scale));
  }
}

// {hmask[32], qs[64], scales[12], d}: the third bit is inverted (absent means -4); sixteen 6-bit
// scales, biased by 32.
void decode_q3_k(const uint8_t* block, float* out) {
  const uint8_t* hmask = block;
  const uint8_t* qs = block + 32;
  const uint8_t* scales = block + 96;
  const float d = half(block + 108);
  for (int e = 0; e < 256; ++e) {
    const int low = qs[e / 128 * 32 + e % 32] >> (2 * (e % 128 / 32)) & 3;
    const int high = hmask[e % 32] >> (e / 32) & 1;
    const int s = e / 16;
    const int scale = (s < 8 ? low_nibble(scales[s]) : high_nibble(scales[s - 8])) |
                      (scales[8 + s % 4] >> (2 * (s / 4)) & 3) << 4;
    out[e] = d * static_cast<float>(scale - 32) * static_cast<float>((low | high << 2) - 4);
  }
}

// Eight 6-bit scales and eight 6-bit minima in 12 bytes.
struct ScaleAndMin {
  float scale;
  float min;
};
ScaleAndMin scale_and_min(const uint8_t* s, int j) {
  if (j < 4) return {static_cast<float>(s[j] & 63), static_cast<float>(s[j + 4] & 63)};
  return {static_cast<float>(low_nibble(s[j + 4]) | s[j - 4] >> 6 << 4),
          static_cast<float>(high_nibble(s[j + 4]) | s[j] >> 6 << 4)};
}

// {d, dmin, scales[12], qs[128]}
void decode_q4_k(const uint8_t* block, float* out) {
  const float d = half(block);
  const float dmin = half(block + 2);
  const uint8_t* qs = block + 16;
  for (int e = 0; e < 256; ++e) {
    const auto [scale, min] = scale_and_min(block + 4, e / 32);
    const int code = qs[e / 64 * 32 + e % 32] >> (4 * (e % 64 / 32)) & 15;
    out[e] = d * scale * static_cast<float>(code) - dmin * min;
  }
}

// {d, dmin, scales[12], qh[32], qs[128]}
void decode_q5_k(const uint8_t* block, float* out) {
  const float d = half(block);
  const float dmin = half(block + 2);
  const uint8_t* qh = block + 16;
  const uint8_t* qs = block + 48;
  for (int e = 0; e < 256; ++e) {
    const auto [scale, min] = scale_and_min(block + 4, e / 32);
    const int low = qs[e / 64 * 32 + e % 32] >> (4 * (e % 64 / 32)) & 15;
    const int high = qh[e % 32] >> (e / 32) & 1;
    out[e] = d * scale * static_cast<float>(low | high << 4) - dmin * min;
  }
}

// {ql[128], qh[64], int8 scales[16], d}
void decode_q6_k(const uint8_t* block, float* out) {
  const uint8_t* ql = block;
  const uint8_t* qh = block + 128;
  const uint8_t* scales = block + 192;
  const float d = half(block + 208);
  for (int e = 0; e < 256; ++e) {
    const int in_half = e % 128;
    const int low = ql[e / 128 * 64 + in_half % 64] >> (4 * (in_half / 64)) & 15;
    const int high = qh[e / 128 * 32 + in_half % 32] >> (2 * (in_half / 32)) & 3;
    const auto scale = static_cast<float>(static_cast<int8_t>(scales[e / 16]));
    out[e] = d * scale * static_cast<float>((low | high << 4) - 32);
  }
}

// --- codes that are indices into a table of levels

void decode_iq4_nl(const uint8_t* block, float* out) {
  const float d = half(block);
  const uint8_t* qs = block + 2;
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(kIq4Levels[low_nibble(qs[j])]);
    out[j + 16] = d * static_cast<float>(kIq4Levels[high_nibble(qs[j])]);
  }
}

// {d, u16 scales_h, scales_l[4], qs[128]}: eight 6-bit scales, biased by 32.
void decode_iq4_xs(const uint8_t* block, float* out) {
  const float d = half(block);
  const int scales_h = block[2] | block[3] << 8;
  const uint8_t* scales_l = block + 4;
  const uint8_t* qs = block + 8;
  for (int b = 0; b < 8; ++b) {
    const int scale = (scales_l[b / 2] >> (4 * (b % 2)) & 15) | (scales_h >> (2 * b) & 3) << 4;
    const float ds = d * static_cast<float>(scale - 32);
    for (int j = 0; j < 16; ++j) {
      out[b * 32 + j] = ds * static_cast<float>(kIq4Levels[low_nibble(qs[b * 16 + j])]);
      out[b * 32 + j + 16] = ds * static_cast<float>(kIq4Levels[high_nibble(qs[b * 16 + j])]);
    }
  }
}

// {u8 e, qs[16]}: E2M1 codes under 2^(e - 127). The table is doubled, the exponent one less.
void decode_mxfp4(const uint8_t* block, float* out) {
  constexpr std::array<int8_t, 16> kDoubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                               0, -1, -2, -3, -4, -6, -8, -12};
  const float half_scale = std::ldexp(1.0F, block[0] - 128);
  const uint8_t* qs = block + 1;
  for (int j = 0; j < 16; ++j) {
    out[j] = half_scale * static_cast<float>(kDoubled[low_nibble(qs[j])]);
    out[j + 16] = half_scale * static_cast<float>(kDoubled[high_nibble(qs[j])]);
  }
}

// {u8 d[4], qs[32]}: per 16 elements a scale in E4M3 without a sign, of which 0x7F is 0, and E2M1
// codes, j and j + 8 in one byte.
void decode_nvfp4(const uint8_t* block, float* out) {
  for (int s = 0; s < 4; ++s) {
    const uint8_t d = block[s];
    const float scale = d == 0x7F ? 0 : ir::read_element(ir::DType::e4m3, &d, 0);
    for (int j = 0; j < 8; ++j) {
      const uint8_t byte = block[4 + s * 8 + j];
      float* numbers = out + s * 16 + j;
      numbers[0] = scale * 0.5F * static_cast<float>(ir::kFp4Doubled[byte & 15]);
      numbers[8] = scale * 0.5F * static_cast<float>(ir::kFp4Doubled[byte >> 4]);
    }
  }
}

bool unsigned_e4m3(const uint8_t* block) {
  return ((block[0] | block[1] | block[2] | block[3]) & 0x80) == 0;
}

const uint8_t* nvfp4_scale(const ir::Matrix& matrix, int64_t row, int64_t group) {
  static constexpr uint8_t kZero = 0;
  const uint8_t* block = ir::row_data(matrix, row) + group / 4 * matrix.blocks->bytes;
  return block[group % 4] == 0x7F ? &kZero : block + group % 4;
}

constexpr ir::MatrixOrder kNvfp4Order = {.scale = nvfp4_scale};

// --- one, two and ternary bits

// Digit n, most significant first, of a byte that holds a base-3 fraction: byte / 256 = 0.ttttt
int trit(uint8_t byte, int n) {
  constexpr std::array<int, 5> kPowers = {1, 3, 9, 27, 81};
  const auto shifted = static_cast<uint8_t>(byte * kPowers[n]);
  return shifted * 3 >> 8;
}

// {qs[48], qh[4], d}: 32 bytes of five trits, 16 bytes of five, 4 bytes of four; first the first
// trit of all bytes of a run. The codes, 0..2.
template <class Number>
void decode_trits(const uint8_t* block, Number* out) {
  struct Run {
    int bytes;
    int trits;
  };
  for (const Run run : {Run{32, 5}, Run{16, 5}, Run{4, 4}}) {
    for (int n = 0; n < run.trits; ++n)
      for (int m = 0; m < run.bytes; ++m) *out++ = static_cast<Number>(trit(block[m], n));
    block += run.bytes;
  }
}

// The same of 128, for which the runs are half as long.
template <class Number>
void decode_half_trits(const uint8_t* block, Number* out) {
  for (const auto& [bytes, trits] : {std::pair{16, 5}, std::pair{8, 5}, std::pair{2, 4}}) {
    for (int n = 0; n < trits; ++n)
      for (int m = 0; m < bytes; ++m) *out++ = static_cast<Number>(trit(block[m], n));
    block += bytes;
  }
}
void decode_ptq1_0(const uint8_t* block, float* out) {
  decode_half_trits(block, out);
  const float d = half(block + 26);
  for (int e = 0; e < 128; ++e) out[e] = d * (out[e] - 1);
}
void decode_pq2_0(const uint8_t* block, float* out) {
  const float d = half(block);
  for (int e = 0; e < 128; ++e)
    out[e] = d * static_cast<float>((block[2 + e / 4] >> (e % 4 * 2) & 3) - 1);
}
void decode_tq1_0(const uint8_t* block, float* out) {
  decode_trits(block, out);
  const float d = half(block + 52);
  for (int e = 0; e < 256; ++e) out[e] = d * (out[e] - 1);
}

// {qs[64], d}
void decode_tq2_0(const uint8_t* block, float* out) {
  const float d = half(block + 64);
  for (int e = 0; e < 256; ++e) {
    const int code = block[e / 128 * 32 + e % 32] >> (2 * (e % 128 / 32)) & 3;
    out[e] = d * static_cast<float>(code - 1);
  }
}

// {d, qs[16]}: bits, LSB first.
void decode_q1_0(const uint8_t* block, float* out) {
  const float d = half(block);
  for (int e = 0; e < 128; ++e) out[e] = (block[2 + e / 8] >> (e % 8) & 1) != 0 ? d : -d;
}

// {d, qs[16]}: pairs of bits, LSB first; code 3 is +2.
void decode_q2_0(const uint8_t* block, float* out) {
  const float d = half(block);
  for (int e = 0; e < 64; ++e)
    out[e] = d * static_cast<float>((block[2 + e / 4] >> (2 * (e % 4)) & 3) - 1);
}

// --- scales

bool finite_half(const uint8_t* bytes) { return ((bytes[1] >> 2) & 31) != 31; }

template <int... offsets>
bool finite_halves(const uint8_t* block) {
  return (finite_half(block + offsets) && ...);
}

bool finite_e8m0(const uint8_t* block) { return block[0] != 255; }

// --- the table

GgmlType number(uint32_t id, std::string_view name, ir::DType dtype,
                void (*decode)(const uint8_t*, float*)) {
  GgmlType type{id, name, 1, ir::byte_size(dtype), decode};
  type.has_format = true;
  type.format.scale_type = dtype;
  return type;
}

GgmlType unreadable(uint32_t id, std::string_view name, int block_elements, int block_bytes,
                    std::string_view refusal = {}) {
  GgmlType type{id, name, block_elements, block_bytes};
  type.refusal = refusal;
  return type;
}

// w = scale * (code - zero)
GgmlType symmetric(GgmlType type, int bits, double zero, ir::BlockLayout blocks) {
  type.has_format = true;
  type.format = {.map = CodeMap::symmetric,
                 .bits = bits,
                 .group = type.block_elements,
                 .zero = zero,
                 .scale_type = ir::DType::f16};
  type.blocks = blocks;
  return type;
}

// --- the integers of sixteen or eight groups in 256 columns

void q2_k_scales(const uint8_t* block, uint8_t* out) {
  for (int g = 0; g < 16; ++g) out[g] = block[g] & 15;
}
void q2_k_minima(const uint8_t* block, uint8_t* out) {
  for (int g = 0; g < 16; ++g) out[g] = block[g] >> 4;
}
void q3_k_scales(const uint8_t* block, uint8_t* out) {
  const uint8_t* s = block + 96;
  for (int g = 0; g < 16; ++g)
    out[g] = static_cast<uint8_t>((s[g % 8] >> (g / 8 * 4) & 15) | (s[8 + g % 4] >> (g / 4 * 2) & 3)
                                                                       << 4);
}
// Of Q4_K and Q5_K: twelve bytes behind d and dmin.
void k_scales(const uint8_t* block, uint8_t* out) {
  for (int g = 0; g < 8; ++g) out[g] = static_cast<uint8_t>(scale_and_min(block + 4, g).scale);
}
void k_minima(const uint8_t* block, uint8_t* out) {
  for (int g = 0; g < 8; ++g) out[g] = static_cast<uint8_t>(scale_and_min(block + 4, g).min);
}
// Signed bytes, as bytes less 128.
void q6_k_scales(const uint8_t* block, uint8_t* out) {
  for (int g = 0; g < 16; ++g) out[g] = block[192 + g] ^ 0x80;
}
void iq4_xs_scales(const uint8_t* block, uint8_t* out) {
  const int high = block[2] | block[3] << 8;
  for (int g = 0; g < 8; ++g)
    out[g] =
        static_cast<uint8_t>((block[4 + g / 2] >> (g % 2 * 4) & 15) | (high >> (2 * g) & 3) << 4);
}
void tq1_0_codes(const uint8_t* block, uint8_t* out) { decode_trits(block, out); }
void ptq1_0_codes(const uint8_t* block, uint8_t* out) { decode_half_trits(block, out); }

// A format without biases, all numbers that a block stores once being for the whole block.
GgmlType coded(GgmlType type, ir::WeightFormat format, ir::BlockLayout blocks,
               const ir::MatrixOrder* order = nullptr) {
  type.has_format = true;
  type.order = order;
  type.format = format;
  blocks.cols = type.block_elements;
  blocks.bytes = type.block_bytes;
  type.blocks = blocks;
  return type;
}

// w = scale * code + bias
GgmlType affine(GgmlType type, int bits, ir::BlockLayout blocks) {
  type.has_format = true;
  type.format = {.map = CodeMap::affine,
                 .bits = bits,
                 .group = type.block_elements,
                 .scale_type = ir::DType::f16};
  type.blocks = blocks;
  return type;
}

std::vector<GgmlType> make_types() {
  // Nibbles j and j + 16 in a byte: 16 lanes. The fifth bits are a plain stream: one lane.
  return {
      number(0, "F32", ir::DType::f32, decode_number<ir::DType::f32>),
      number(1, "F16", ir::DType::f16, decode_number<ir::DType::f16>),
      number(30, "BF16", ir::DType::bf16, decode_number<ir::DType::bf16>),

      symmetric({2, "Q4_0", 32, 18, decode_q4_0, finite_halves<0>}, 4, 8,
                {.cols = 32, .bytes = 18, .fields = {{{2, 4, 16}}}}),
      affine({3, "Q4_1", 32, 20, decode_q4_1, finite_halves<0, 2>}, 4,
             {.cols = 32, .bytes = 20, .fields = {{{4, 4, 16}}}, .scale = 0, .bias = 2}),
      symmetric({6, "Q5_0", 32, 22, decode_q5_0, finite_halves<0>}, 5, 16,
                {.cols = 32, .bytes = 22, .fields = {{{6, 4, 16}, {2, 1, 1}}}}),
      affine({7, "Q5_1", 32, 24, decode_q5_1, finite_halves<0, 2>}, 5,
             {.cols = 32, .bytes = 24, .fields = {{{8, 4, 16}, {4, 1, 1}}}, .scale = 0, .bias = 2}),
      symmetric({8, "Q8_0", 32, 34, decode_q8_0, finite_halves<0>}, 8, 128,
                {.cols = 32, .bytes = 34, .fields = {{{2, 8, 1}}}, .flip = 0x80}),
      symmetric({35, "TQ2_0", 256, 66, decode_tq2_0, finite_halves<64>}, 2, 1,
                {.cols = 256, .bytes = 66, .fields = {{{0, 2, 32}}}, .scale = 64}),
      symmetric({kQ2, "Q2_0", 64, 18, decode_q2_0, finite_halves<0>}, 2, 1,
                {.cols = 64, .bytes = 18, .fields = {{{2, 2, 1}}}}),

      coded({41, "Q1_0", 128, 18, decode_q1_0, finite_halves<0>},
            {.map = CodeMap::sign, .bits = 1, .group = 128, .scale_type = ir::DType::f16},
            {.fields = {{{2, 1, 1}}}}),
      coded({10, "Q2_K", 256, 84, decode_q2_k, finite_halves<80, 82>},
            {.map = CodeMap::affine,
             .bits = 2,
             .group = 16,
             .scale_type = ir::DType::f16,
             .block = 256,
             .sub_bits = 4},
            {.fields = {{{16, 2, 32}}},
             .scale = 80,
             .bias = 82,
             .sub_scales = q2_k_scales,
             .sub_biases = q2_k_minima}),
      // The third bit says that nothing is taken off.
      coded({11, "Q3_K", 256, 110, decode_q3_k, finite_halves<108>},
            {.map = CodeMap::symmetric,
             .bits = 3,
             .group = 16,
             .zero = 4,
             .scale_type = ir::DType::f16,
             .block = 256,
             .sub_bits = 6,
             .sub_zero = 32},
            {.fields = {{{32, 2, 32}, {0, 1, 32}}}, .scale = 108, .sub_scales = q3_k_scales}),
      coded({12, "Q4_K", 256, 144, decode_q4_k, finite_halves<0, 2>},
            {.map = CodeMap::affine,
             .bits = 4,
             .group = 32,
             .scale_type = ir::DType::f16,
             .block = 256,
             .sub_bits = 6},
            {.fields = {{{16, 4, 32}}},
             .scale = 0,
             .bias = 2,
             .sub_scales = k_scales,
             .sub_biases = k_minima}),
      coded({13, "Q5_K", 256, 176, decode_q5_k, finite_halves<0, 2>},
            {.map = CodeMap::affine,
             .bits = 5,
             .group = 32,
             .scale_type = ir::DType::f16,
             .block = 256,
             .sub_bits = 6},
            {.fields = {{{48, 4, 32}, {16, 1, 32}}},
             .scale = 0,
             .bias = 2,
             .sub_scales = k_scales,
             .sub_biases = k_minima}),
      coded({14, "Q6_K", 256, 210, decode_q6_k, finite_halves<208>},
            {.map = CodeMap::symmetric,
             .bits = 6,
             .group = 16,
             .zero = 32,
             .scale_type = ir::DType::f16,
             .block = 256,
             .sub_bits = 8,
             .sub_zero = 128},
            {.fields = {{{0, 4, 64}, {128, 2, 32}}}, .scale = 208, .sub_scales = q6_k_scales}),
      coded({20, "IQ4_NL", 32, 18, decode_iq4_nl, finite_halves<0>},
            {.map = CodeMap::iq4, .bits = 4, .group = 32, .scale_type = ir::DType::f16},
            {.fields = {{{2, 4, 16}}}}),
      coded({23, "IQ4_XS", 256, 136, decode_iq4_xs, finite_halves<0>},
            {.map = CodeMap::iq4,
             .bits = 4,
             .group = 32,
             .scale_type = ir::DType::f16,
             .block = 256,
             .sub_bits = 6,
             .sub_zero = 32},
            {.fields = {{{8, 4, 16}}}, .sub_scales = iq4_xs_scales}),
      coded({34, "TQ1_0", 256, 54, decode_tq1_0, finite_halves<52>},
            {.map = CodeMap::ternary,
             .bits = 2,
             .group = 256,
             .scale_type = ir::DType::f16,
             .base3 = true},
            {.scale = 52, .codes = tq1_0_codes}),
      // PrismML's, of Bonsai.
      symmetric({kPrismQ2, "PQ2_0", 128, 34, decode_pq2_0, finite_halves<0>}, 2, 1,
                {.cols = 128, .bytes = 34, .fields = {{{2, 2, 1}}}}),
      coded({143, "PTQ1_0", 128, 28, decode_ptq1_0, finite_halves<26>},
            {.map = CodeMap::ternary,
             .bits = 2,
             .group = 128,
             .scale_type = ir::DType::f16,
             .base3 = true},
            {.scale = 26, .codes = ptq1_0_codes}),
      coded({39, "MXFP4", 32, 17, decode_mxfp4, finite_e8m0},
            {.map = CodeMap::fp4, .bits = 4, .group = 32, .scale_type = ir::DType::e8m0},
            {.fields = {{{1, 4, 16}}}}),
      coded({40, "NVFP4", 64, 36, decode_nvfp4, unsigned_e4m3},
            {.map = CodeMap::fp4, .bits = 4, .group = 16, .scale_type = ir::DType::e4m3},
            {.fields = {{{4, 4, 8}}}}, &kNvfp4Order),

      unreadable(9, "Q8_1", 32, 36),
      unreadable(15, "Q8_K", 256, 292),
      unreadable(16, "IQ2_XXS", 256, 66),
      unreadable(17, "IQ2_XS", 256, 74),
      unreadable(18, "IQ3_XXS", 256, 98),
      unreadable(19, "IQ1_S", 256, 50),
      unreadable(21, "IQ3_S", 256, 110),
      unreadable(22, "IQ2_S", 256, 82),
      unreadable(24, "I8", 1, 1),
      unreadable(25, "I16", 1, 2),
      unreadable(26, "I32", 1, 4),
      unreadable(27, "I64", 1, 8),
      unreadable(28, "F64", 1, 8),
      unreadable(29, "IQ1_M", 256, 56),
      unreadable(36, "I2_S", 128, 32,
                 "the id is used for several layouts (I2_S of x86 and of ARM builds, the removed "
                 "IQ4_NL_4_4), which the file does not tell apart"),
      unreadable(4, "Q4_2", 16, 10, "the type was removed from GGUF"),
      unreadable(5, "Q4_3", 16, 12, "the type was removed from GGUF"),
      unreadable(31, "Q4_0_4_4", 32, 18, "the repacked type was removed from GGUF"),
      unreadable(32, "Q4_0_4_8", 32, 18, "the repacked type was removed from GGUF"),
      unreadable(33, "Q4_0_8_8", 32, 18, "the repacked type was removed from GGUF"),
  };
}

}  // namespace

absl::Span<const GgmlType> ggml_types() {
  static const std::vector<GgmlType> types = make_types();
  return types;
}

const GgmlType* find_ggml_type(uint32_t id) {
  for (const GgmlType& type : ggml_types())
    if (type.id == id) return &type;
  return nullptr;
}

}  // namespace sinter::frontends
