// Damages tiny models, one of every format of quantized modules: configuration, header of the
// tensors or their bytes. Usage: fuzz_quantized COUNT
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/checkpoint_fuzz.h"
#include "tests/fuzz/mutate.h"

namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// Of 32-bit words and numbers, `value` over and over; of others, zeros.
struct Tensor {
  const char* suffix;
  const char* dtype;
  std::vector<int64_t> shape;
  float value = 1;
};

struct Format {
  const char* quantization;  // the block of config.json
  std::vector<Tensor> tensors;
};

const std::vector<Format>& formats() {
  static const std::vector<Format> table = {
      {R"({"mode": "mxfp4"})", {{".weight", "U32", {8, 8}}, {".scales", "U8", {8, 2}}}},
      {R"({"mode": "mxfp8"})", {{".weight", "U32", {2, 4, 16}}, {".scales", "U8", {2, 4, 2}}}},
      {R"({"mode": "nvfp4"})",
       {{".weight", "U32", {8, 8}}, {".scales", "U8", {8, 4}}, {".global_scale", "F32", {1}}}},
      {R"({"quant_method": "bitnet", "linear_class": "autobitlinear"})",
       {{".weight", "U8", {8, 48}}, {".weight_scale", "F32", {1}}}},
      {R"({"quant_method": "bitnet", "quantization_mode": "online"})",
       {{".weight", "F32", {8, 30}}}},
      {R"({"quant_method": "awq", "bits": 4, "group_size": 32})",
       {{".qweight", "I32", {64, 2}}, {".qzeros", "I32", {2, 2}}, {".scales", "F32", {2, 16}}}},
      {R"({"quant_method": "gptq", "bits": 3, "group_size": -1, "checkpoint_format": "gptq_v2"})",
       {{".qweight", "I32", {6, 32}},
        {".qzeros", "I32", {1, 3}, 1.5F},
        {".scales", "F32", {1, 32}},
        {".g_idx", "I32", {64}, 0}}},
      {R"({"quant_method": "gptq", "bits": 8, "group_size": 32, "desc_act": false})",
       {{".qweight", "I32", {16, 8}},
        {".qzeros", "I32", {2, 2}, 1.5F},
        {".scales", "F32", {2, 8}}}},
      {R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"a":
          {"weights": {"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": false}}}})",
       {{".weight_packed", "I32", {9, 8}},
        {".weight_scale", "F32", {9, 2}},
        {".weight_zero_point", "I32", {2, 2}}}},
      {R"({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"})",
       {{".weight_packed", "U8", {4, 32}},
        {".weight_scale", "F8_E4M3", {4, 4}},
        {".weight_global_scale", "F32", {1}}}},
      {R"({"quant_method": "mxfp4"})",
       {{".gate_up_proj_blocks", "U8", {2, 6, 2, 16}},
        {".gate_up_proj_scales", "U8", {2, 6, 2}},
        {".gate_up_proj_bias", "F32", {2, 6}},
        {".down_proj_blocks", "U8", {2, 4, 1, 16}},
        {".down_proj_scales", "U8", {2, 4, 1}}}},
  };
  return table;
}

struct Seed {
  std::string config;
  std::string header;
  std::string data;
};

Seed seed_of(const Format& format) {
  json config = {{"model_type", "llama"}};
  config["quantization_config"] = json::parse(format.quantization);
  json header = json::object();
  std::string data;
  for (const Tensor& tensor : format.tensors) {
    const std::string_view dtype = tensor.dtype;
    const size_t begin = data.size();
    size_t elements = 1;
    for (const int64_t extent : tensor.shape) elements *= static_cast<size_t>(extent);
    if (dtype.ends_with("32")) {
      char bytes[4];
      std::memcpy(bytes, &tensor.value, sizeof(bytes));
      for (size_t i = 0; i < elements; ++i) data.append(bytes, sizeof(bytes));
    } else {
      data.append(elements, '\0');
    }
    header[std::string("model.layers.0.mlp.up_proj") + tensor.suffix] = {
        {"dtype", dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
  }
  return {config.dump(), header.dump(), data};
}

std::string length_bytes(uint64_t size) {
  std::string out;
  for (size_t i = 0; i < 8; ++i) out += static_cast<char>(size >> (8 * i) & 0xFF);
  return out;
}

void write(const fs::path& folder, const Seed& seed) {
  sinter::frontends::write_bytes(folder / "config.json", seed.config);
  sinter::frontends::write_bytes(folder / "model.safetensors",
                                 length_bytes(seed.header.size()) + seed.header + seed.data);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s COUNT\n", argv[0]);
    return 2;
  }
  const sinter::frontends::TemporaryFolder folder;
  std::vector<Seed> seeds;
  for (const Format& format : formats()) {
    seeds.push_back(seed_of(format));
    write(folder.path, seeds.back());
    if (const auto opened = sinter::frontends::open_checkpoint(folder.path); !opened.ok()) {
      std::fprintf(stderr, "%s: does not open: %s\n", format.quantization,
                   std::string(opened.status().message()).c_str());
      return 2;
    }
  }

  sinter::frontends::FuzzCounts counts;
  uint64_t state = 0x5eed;
  const int64_t count = std::atoll(argv[1]);
  for (int64_t i = 0; i < count; ++i) {
    Seed mutant = seeds[static_cast<size_t>(i) % seeds.size()];
    switch (sinter::frontends::fuzz_random(state) % 4) {
      case 0:
        mutant.config = mutate(mutant.config, state);
        break;
      case 1:
        for (int flip = 0; flip < 4; ++flip) {
          mutant.data[sinter::frontends::fuzz_random(state) % mutant.data.size()] =
              static_cast<char>(sinter::frontends::fuzz_random(state));
        }
        break;
      default:
        mutant.header = mutate(mutant.header, state);
        break;
    }
    write(folder.path, mutant);
    sinter::frontends::open_and_decode(folder.path, counts);
  }
  return sinter::frontends::finish("fuzz_quantized", counts);
}
