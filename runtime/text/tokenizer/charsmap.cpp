#include "runtime/text/tokenizer/charsmap.h"

#include <fmt/format.h>

#include <algorithm>

namespace sinter::runtime::tokenizer {
namespace {

// A unit of the double array: a label with the offset of its children, or a leaf's value.
bool has_leaf(uint32_t unit) { return ((unit >> 8) & 1) != 0; }
uint32_t value_of(uint32_t unit) { return unit & 0x7FFFFFFF; }
uint32_t label_of(uint32_t unit) { return unit & 0x800000FF; }
uint32_t offset_of(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }

// The prefixes that the library's tables replace have a few dozen bytes.
constexpr size_t kMaxMatch = 256;

uint32_t read_u32(std::string_view bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (8 * i);
  return value;
}

}  // namespace

Result<Charsmap> Charsmap::parse(std::string_view bytes) {
  const uint32_t trie_bytes = bytes.size() < 4 ? 0 : read_u32(bytes, 0);
  if (trie_bytes == 0 || trie_bytes % 4 != 0 || trie_bytes > bytes.size() - 4) {
    return Error{fmt::format("the normalization table of {} bytes is damaged", bytes.size())};
  }
  Charsmap map;
  map.units_.reserve(trie_bytes / 4);
  for (size_t at = 4; at < 4 + size_t{trie_bytes}; at += 4)
    map.units_.push_back(read_u32(bytes, at));
  map.replacements_ = bytes.substr(4 + size_t{trie_bytes});
  map.replacements_.push_back('\0');
  return map;
}

Charsmap::Match Charsmap::match(std::string_view text, bool shortest) const {
  Match match;
  size_t position = offset_of(units_[0]);
  // A damaged trie may have circles.
  for (size_t i = 0; i < std::min(text.size(), kMaxMatch); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    position ^= byte;
    if (position >= units_.size() || label_of(units_[position]) != byte) break;
    const uint32_t unit = units_[position];
    position ^= offset_of(unit);
    if (!has_leaf(unit)) continue;
    if (position >= units_.size()) break;
    const size_t begin = value_of(units_[position]);
    if (begin >= replacements_.size()) break;
    match = {i + 1, std::string_view(replacements_.c_str() + begin)};
    if (shortest) break;
  }
  return match;
}

}  // namespace sinter::runtime::tokenizer
