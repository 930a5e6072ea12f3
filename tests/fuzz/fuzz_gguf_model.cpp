// A GGUF file from a short text: the first line is its metadata as JSON, each further line a tensor
// (model_text.h), whose type is a number and whose extents are as the file has them:
//
//   {"general.architecture": "llama", "llama.block_count": 1, ...}
//   output_norm.weight 0 8 =0000803f
#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <string>

#include "frontends/gguf/blocks.h"
#include "nlohmann/json.hpp"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_folder.h"
#include "tests/fuzz/model_text.h"
#include "tests/fuzz/use_model.h"

namespace sinter::fuzz {
namespace {

using Json = nlohmann::json;

template <class T>
std::string le(T value) {
  std::string bytes(sizeof(T), 0);
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}
std::string text_bytes(std::string_view text) { return le(uint64_t{text.size()}).append(text); }

// The id of a value's type, and its bytes. Objects and null, which GGUF has not, are texts.
uint32_t type_of(const Json& value) {
  if (value.is_boolean()) return 7;
  if (value.is_number_float()) return 6;
  if (value.is_number_unsigned())
    return value.get<uint64_t>() <= std::numeric_limits<uint32_t>::max() ? 4 : 10;
  if (value.is_number_integer()) return 11;
  return value.is_array() ? 9 : 8;
}
std::string value_bytes(const Json& value, uint32_t type, int depth = 0) {
  const auto number = [&](auto otherwise) {
    return value.is_number() ? value.get<decltype(otherwise)>() : otherwise;
  };
  switch (type) {
    case 4:
      return le(number(uint32_t{0}));
    case 6:
      return le(number(0.0F));
    case 7:
      return le(static_cast<uint8_t>(value == true));
    case 9: {
      if (!value.is_array() || value.empty() || depth > 3) return le(uint32_t{4}) + le(uint64_t{0});
      // One type for all: that of the first.
      const uint32_t inner = type_of(value[0]);
      std::string bytes = le(inner) + le(uint64_t{value.size()});
      for (const Json& item : value) bytes += value_bytes(item, inner, depth + 1);
      return bytes;
    }
    case 10:
      return le(number(uint64_t{0}));
    case 11:
      return le(number(int64_t{0}));
    default:
      return text_bytes(value.is_string() ? value.get_ref<const std::string&>() : value.dump());
  }
}

// The bytes that a type needs for the tensor; an unknown type has one for each element.
uint64_t bytes_of(const TensorLine& tensor, uint32_t id) {
  for (const frontends::GgmlType& type : frontends::ggml_types())
    if (type.id == id) return tensor.bytes(type.block_bytes) / type.block_elements;
  return tensor.bytes(1);
}

// The file; empty where it would be too large.
std::string gguf_bytes(const Json& metadata, std::string_view lines) {
  constexpr size_t kAlignment = 32;
  std::string head, data;
  uint64_t count = 0;
  for (const auto& [key, value] : metadata.items())
    head += text_bytes(key) + le(type_of(value)) + value_bytes(value, type_of(value));
  while (!lines.empty()) {
    const std::string_view line = take(lines, '\n');
    if (line.empty()) continue;
    const TensorLine tensor(line);
    uint32_t id = 0;
    std::from_chars(tensor.type.data(), tensor.type.data() + tensor.type.size(), id);
    const uint64_t bytes = bytes_of(tensor, id);
    data.resize((data.size() + kAlignment - 1) / kAlignment * kAlignment);
    if (bytes > kMostModelBytes - std::min<uint64_t>(kMostModelBytes, data.size())) return {};
    head += text_bytes(tensor.name) + le(static_cast<uint32_t>(tensor.extents.size()));
    for (const int64_t extent : tensor.extents) head += le(extent);
    head += le(id) + le(uint64_t{data.size()});
    tensor.append_to(data, bytes);
    ++count;
  }
  std::string file = "GGUF" + le(uint32_t{3}) + le(count) + le(uint64_t{metadata.size()}) + head;
  file.resize((file.size() + kAlignment - 1) / kAlignment * kAlignment);
  return file + data;
}

}  // namespace

void use(std::string_view input) {
  static MemoryFolder folder;
  const std::string_view text = take(input, '\n');
  keep_if_json(text);
  const Json metadata = Json::parse(text, nullptr, false);
  if (!metadata.is_object()) return;
  const std::string file = gguf_bytes(metadata, input);
  if (!file.empty()) use_checkpoint(folder.write("model.gguf", file));
}

}  // namespace sinter::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return sinter::fuzz::mutate_text(data, size, max_size, seed);
}
