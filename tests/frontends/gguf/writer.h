// GGUF files for tests, good and bad ones.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/frontends/test_files.h"

namespace sinter::frontends {

template <class T>
std::string le(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof(T)};
}
inline std::string gguf_string(std::string_view text) {
  return le(uint64_t{text.size()}).append(text);
}

// Value type ids.
inline constexpr uint32_t kGgufUint32 = 4;
inline constexpr uint32_t kGgufInt32 = 5;
inline constexpr uint32_t kGgufFloat32 = 6;
inline constexpr uint32_t kGgufBool = 7;
inline constexpr uint32_t kGgufString = 8;
inline constexpr uint32_t kGgufArray = 9;

struct GgufKey {
  std::string name;
  uint32_t type;
  std::string bytes;
};
inline GgufKey key_u32(std::string name, uint32_t value) {
  return {std::move(name), kGgufUint32, le(value)};
}
inline GgufKey key_f32(std::string name, float value) {
  return {std::move(name), kGgufFloat32, le(value)};
}
inline GgufKey key_text(std::string name, std::string_view value) {
  return {std::move(name), kGgufString, gguf_string(value)};
}
inline GgufKey key_bool(std::string name, bool value) {
  return {std::move(name), kGgufBool, le(uint8_t{value})};
}
inline GgufKey key_texts(std::string name, const std::vector<std::string>& values) {
  std::string bytes = le(kGgufString) + le(uint64_t{values.size()});
  for (const std::string& value : values) bytes += gguf_string(value);
  return {std::move(name), kGgufArray, std::move(bytes)};
}
// `type`: the value type that T is.
template <class T>
GgufKey key_numbers(std::string name, uint32_t type, const std::vector<T>& values) {
  return {std::move(name), kGgufArray, le(type) + le(uint64_t{values.size()}) + bytes_of(values)};
}

struct GgufEntry {
  std::string name;
  std::vector<uint64_t> extents;  // as the file has them: fastest first
  uint32_t type = 0;
  std::string bytes;
  int64_t offset = -1;  // -1: after the tensor before it, aligned
};

struct GgufFile {
  std::vector<GgufKey> keys;
  std::vector<GgufEntry> tensors;
  uint32_t version = 3;
  uint64_t alignment = 32;

  std::string bytes() const {
    std::string out =
        "GGUF" + le(version) + le(uint64_t{tensors.size()}) + le(uint64_t{keys.size()});
    for (const GgufKey& key : keys) out += gguf_string(key.name) + le(key.type) + key.bytes;
    std::string data;
    for (const GgufEntry& tensor : tensors) {
      data.resize((data.size() + alignment - 1) / alignment * alignment);
      const uint64_t offset =
          tensor.offset < 0 ? data.size() : static_cast<uint64_t>(tensor.offset);
      out += gguf_string(tensor.name) + le(static_cast<uint32_t>(tensor.extents.size()));
      for (const uint64_t extent : tensor.extents) out += le(extent);
      out += le(tensor.type) + le(offset);
      data += tensor.bytes;
    }
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data;
  }
};

inline GgufEntry f32_entry(std::string name, std::vector<uint64_t> extents,
                           const std::vector<float>& values) {
  return {std::move(name), std::move(extents), 0, bytes_of(values)};
}

}  // namespace sinter::frontends
