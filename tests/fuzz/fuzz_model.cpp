// A model folder from a short text: the first line is config.json; a line that begins with "{" is
// hadamard.json, and each other line a tensor of model.safetensors (model_text.h):
//
//   {"model_type": "llama", ...}
//   model.norm.weight F32 8 =0000803f
#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/memory_folder.h"
#include "tests/fuzz/model_text.h"
#include "tests/fuzz/use_model.h"

namespace sinter::fuzz {
namespace {

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

// The container; empty when it would be too large.
std::string safetensors(std::string_view lines) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  while (!lines.empty()) {
    const std::string_view line = take(lines, '\n');
    if (line.empty()) continue;
    const TensorLine tensor(line);
    const uint64_t bytes = tensor.bytes(bits_of(tensor.type) / 8);
    if (bytes > kMostModelBytes - std::min<uint64_t>(kMostModelBytes, data.size())) return {};
    const size_t begin = data.size();
    tensor.append_to(data, bytes);
    header[std::string(tensor.name)] = {
        {"dtype", tensor.type}, {"shape", tensor.extents}, {"data_offsets", {begin, data.size()}}};
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
  folder.write("hadamard.json", input.starts_with('{') ? take(input, '\n') : "{}");
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
