#include "runtime/plan/synthetic.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "runtime/support/half.h"

namespace sinter::runtime {
namespace {

constexpr uint64_t golden = 0x9e3779b97f4a7c15;  // 2^64 / golden ratio, odd

// The output function of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
// generators", 2014).
constexpr uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t stream_key(uint64_t seed, uint64_t fill) { return mix(mix(seed) + golden * (fill + 1)); }
uint64_t word_hash(uint64_t key, uint64_t word) { return mix(key + golden * (word + 1)); }

// The bytes whose four 2-bit fields are all in 0..2.
constexpr std::array<uint8_t, 81> ternary_bytes = [] {
  std::array<uint8_t, 81> table{};
  for (unsigned i = 0; i < 81; ++i) {
    table[i] = static_cast<uint8_t>(i % 3 | (i / 3 % 3) << 2 | (i / 9 % 3) << 4 | (i / 27) << 6);
  }
  return table;
}();

uint64_t ternary_word(uint64_t key, uint64_t word) {
  uint64_t result = 0;
  for (uint64_t half = 0; half < 2; ++half) {
    const uint64_t hash = word_hash(key, 2 * word + half);
    for (uint64_t i = 0; i < 4; ++i) {
      const uint64_t draw = (hash >> (16 * i)) & 0xffff;
      result |= static_cast<uint64_t>(ternary_bytes[draw * 81 >> 16]) << (8 * (4 * half + i));
    }
  }
  return result;
}

enum class Float { f32, f16, bf16, e8m0, e4m3 };

Float float_kind(std::string_view dtype) {
  return dtype == "f16"    ? Float::f16
         : dtype == "bf16" ? Float::bf16
         : dtype == "e8m0" ? Float::e8m0
         : dtype == "e4m3" ? Float::e4m3
                           : Float::f32;
}

constexpr uint64_t bytes_of(Float kind) {
  return kind == Float::f32 ? 4 : kind == Float::f16 || kind == Float::bf16 ? 2 : 1;
}

uint32_t encode(Float kind, float value) {
  switch (kind) {
    case Float::f16:
      return f16_from_f32(value);
    case Float::bf16:
      return bf16_from_f32(value);
    case Float::e8m0:
      return e8m0_from_f32(value);
    case Float::e4m3:
      return e4m3_from_f32(value);
    case Float::f32:
      break;
  }
  return std::bit_cast<uint32_t>(value);
}

// Of scales that biases are paired with.
float decode(Float kind, uint32_t bits) {
  return kind == Float::f16    ? f32_from_f16(static_cast<uint16_t>(bits))
         : kind == Float::bf16 ? f32_from_bf16(static_cast<uint16_t>(bits))
                               : std::bit_cast<float>(bits);
}

// Numbers that one hash serves.
constexpr uint64_t draws_of(Float kind) { return kind == Float::f32 ? 2 : 4; }

// Number `element` of a uniform fill, encoded; `hash` is that of word element / draws_of(kind).
uint32_t uniform_element(const Fill& fill, Float kind, uint64_t hash, uint64_t element) {
  const double fraction =
      kind == Float::f32
          ? (static_cast<double>((hash >> (32 * (element % 2)) & 0xffffffff) >> 8) + 0.5) * 0x1p-24
          : (static_cast<double>(hash >> (16 * (element % 4)) & 0xffff) + 0.5) * 0x1p-16;
  return encode(kind, static_cast<float>(fill.low + (fill.high - fill.low) * fraction));
}

uint64_t uniform_word(const Fill& fill, Float kind, uint64_t key, uint64_t word) {
  const uint64_t count = 8 / bytes_of(kind);
  uint64_t hash = 0;
  uint64_t result = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t element = word * count + i;
    if (i % draws_of(kind) == 0) hash = word_hash(key, element / draws_of(kind));
    result |= static_cast<uint64_t>(uniform_element(fill, kind, hash, element)) << (64 / count * i);
  }
  return result;
}

uint64_t paired_word(const Fill& fill, Float kind, const Fill& scales, Float scale_kind,
                     uint64_t scale_key, uint64_t word) {
  const uint64_t count = 8 / bytes_of(kind);
  uint64_t result = 0;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t element = word * count + i;
    const uint64_t hash = word_hash(scale_key, element / draws_of(scale_kind));
    const float scale = decode(scale_kind, uniform_element(scales, scale_kind, hash, element));
    const uint32_t bits =
        encode(kind, static_cast<float>(-fill.factor * static_cast<double>(scale)));
    result |= static_cast<uint64_t>(bits) << (64 / count * i);
  }
  return result;
}

// Stores word(i) for i in [first, last) from `out` on; the fill's last word may be partial.
template <class Word>
void store_words(const Fill& fill, uint64_t first, uint64_t last, uint8_t* out, Word word) {
  const uint64_t whole = std::min(last, fill.bytes / 8);
  for (uint64_t i = first; i < whole; ++i) {
    const uint64_t value = word(i);
    std::memcpy(out + 8 * (i - first), &value, 8);
  }
  if (first <= whole && whole < last && 8 * whole < fill.bytes) {
    const uint64_t value = word(whole);
    std::memcpy(out + 8 * (whole - first), &value, fill.bytes - 8 * whole);
  }
}

}  // namespace

uint64_t fill_element_bytes(std::string_view dtype) {
  const Float kind = float_kind(dtype);
  return kind == Float::f32 && dtype != "f32" ? 0 : bytes_of(kind);
}

void fill_piece(std::span<const Fill> fills, size_t index, uint64_t seed, uint64_t first,
                uint64_t last, uint8_t* out) {
  const Fill& fill = fills[index];
  const uint64_t key = stream_key(seed, index);
  const Float kind = float_kind(fill.dtype);
  switch (fill.kind) {
    case Fill::Kind::bits:
      store_words(fill, first, last, out, [=](uint64_t i) { return word_hash(key, i); });
      return;
    case Fill::Kind::ternary:
      store_words(fill, first, last, out, [=](uint64_t i) { return ternary_word(key, i); });
      return;
    case Fill::Kind::uniform:
      store_words(fill, first, last, out,
                  [&](uint64_t i) { return uniform_word(fill, kind, key, i); });
      return;
    case Fill::Kind::paired: {
      const Fill& scales = fills[index - 1];
      const Float scale_kind = float_kind(scales.dtype);
      const uint64_t scale_key = stream_key(seed, index - 1);
      store_words(fill, first, last, out, [&](uint64_t i) {
        return paired_word(fill, kind, scales, scale_kind, scale_key, i);
      });
      return;
    }
  }
}

}  // namespace sinter::runtime
