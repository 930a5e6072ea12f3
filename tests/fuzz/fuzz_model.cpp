// A model folder from a short text: the first line is config.json, each further line a tensor of
// model.safetensors, its name, dtype and extents, and the bytes that fill it, in hexadecimal:
//
//   {"model_type": "llama", ...}
//   model.norm.weight F32 8 =0000803f
//
// So offsets are always right, and every quantization's tensors are a few words that can be
// changed.
#include <array>
#include <charconv>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_folder.h"
#include "tests/fuzz/use_model.h"

namespace sinter::fuzz {
namespace {

constexpr uint64_t kMostBytes = 1 << 20;

uint64_t bits_of(std::string_view dtype) {
  static constexpr std::array<std::pair<std::string_view, uint64_t>, 10> kSizes = {{{"F64", 64},
                                                                                    {"I64", 64},
                                                                                    {"U64", 64},
                                                                                    {"F32", 32},
                                                                                    {"I32", 32},
                                                                                    {"U32", 32},
                                                                                    {"F16", 16},
                                                                                    {"BF16", 16},
                                                                                    {"I16", 16},
                                                                                    {"U16", 16}}};
  for (const auto& [name, bits] : kSizes)
    if (name == dtype) return bits;
  return 8;
}

std::string_view take(std::string_view& text, char separator) {
  const size_t end = std::min(text.find(separator), text.size());
  const std::string_view taken = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return taken;
}

std::string bytes_of_hex(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    unsigned value = 0;
    std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    bytes += static_cast<char>(value);
  }
  return bytes.empty() ? std::string(1, '\0') : bytes;
}

// The container; empty when it would be too large.
std::string safetensors(std::string_view lines) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  while (!lines.empty()) {
    std::string_view line = take(lines, '\n');
    if (line.empty()) continue;
    const std::string_view name = take(line, ' ');
    const std::string_view dtype = take(line, ' ');
    nlohmann::json shape = nlohmann::json::array();
    uint64_t bytes = bits_of(dtype) / 8;
    std::string fill(1, '\0');
    while (!line.empty()) {
      const std::string_view word = take(line, ' ');
      if (word.starts_with('=')) {
        fill = bytes_of_hex(word.substr(1));
        continue;
      }
      int64_t extent = 0;
      std::from_chars(word.data(), word.data() + word.size(), extent);
      shape.push_back(extent);
      if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes)) bytes = kMostBytes;
    }
    if (bytes > kMostBytes - std::min(kMostBytes, data.size())) return {};
    const size_t begin = data.size();
    for (uint64_t i = 0; i < bytes; ++i) data += fill[i % fill.size()];
    header[std::string(name)] = {
        {"dtype", dtype}, {"shape", shape}, {"data_offsets", {begin, data.size()}}};
  }
  const std::string text = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  std::string out;
  for (size_t i = 0; i < 8; ++i) out += static_cast<char>(text.size() >> (8 * i) & 0xFF);
  return out.append(text).append(data);
}

}  // namespace

void use(std::string_view input) {
  static MemoryFolder folder;
  const std::string_view config = take(input, '\n');
  keep_if_json(config);
  const std::string tensors = safetensors(input);
  if (tensors.empty()) return;
  folder.write("config.json", config);
  folder.write("model.safetensors", tensors);
  use_checkpoint(folder.path());
}

}  // namespace sinter::fuzz

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  return sinter::fuzz::mutate_text(data, size, max_size, seed);
}
