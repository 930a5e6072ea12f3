// Tensors as lines of text, for inputs that hold a model: a name, a type, extents, and the bytes
// that fill it, in hexadecimal:
//
//   model.norm.weight F32 8 =0000803f
//
// So offsets are always right, and every tensor is a few words that can be changed.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sinter::fuzz {

// All tensors of an input together.
inline constexpr uint64_t kMostModelBytes = 1 << 20;

// What is before the separator, which is taken off the text with it.
inline std::string_view take(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return taken;
}

inline std::string bytes_of_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    unsigned value = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    bytes += static_cast<char>(value);
  }
  return bytes.empty() ? std::string(1, '\0') : bytes;
}

struct TensorLine {
  std::string_view name, type;
  std::vector<int64_t> extents;
  std::string fill;

  explicit TensorLine(std::string_view line)
      : name(take(line, ' ')), type(take(line, ' ')), fill(1, '\0') {
    while (!line.empty()) {
      const std::string_view word = take(line, ' ');
      if (word.starts_with('=')) {
        fill = bytes_of_hex(word.substr(1));
        continue;
      }
      int64_t extent = 0;
      std::from_chars(word.data(), word.data() + word.size(), extent);
      extents.push_back(extent);
    }
  }

  // The product of the extents and a size; kMostModelBytes where that is more.
  uint64_t bytes(uint64_t size) const {
    for (const int64_t extent : extents)
      if (__builtin_mul_overflow(size, static_cast<uint64_t>(extent), &size))
        return kMostModelBytes;
    return size;
  }
  void append_to(std::string& data, uint64_t count) const {
    for (uint64_t i = 0; i < count; ++i) data += fill[i % fill.size()];
  }
};

}  // namespace sinter::fuzz
