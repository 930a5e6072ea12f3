// Models against logits computed by transformers: the reference interpreter on the imported graph.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "frontends/gguf/gguf.h"
#include "frontends/json_file.h"
#include "frontends/open/open_checkpoint.h"
#include "ir/interpreter.h"
#include "models/import.h"
#include "tests/frontends/gguf/writer.h"
#include "tests/frontends/test_files.h"
#include "tests/models/expect_logits.h"

namespace sinter::models {
namespace {

namespace fs = std::filesystem;

fs::path golden_folder(const std::string& name) { return fs::path(SINTER_TEST_GOLDENS) / name; }

class FolderGoldens : public testing::TestWithParam<const char*> {};

TEST_P(FolderGoldens, TheInterpreterMatches) {
  const fs::path folder = golden_folder(GetParam());
  expect_logits(folder, folder);
}

INSTANTIATE_TEST_SUITE_P(All, FolderGoldens,
                         testing::Values("mlx_mxfp4", "mlx_mxfp8", "mlx_nvfp4", "mlx_mixed",
                                         "bitnet_packed", "bitnet_online", "bitnet_falcon_llama",
                                         "bitnet_falcon_mlx", "bitnet_1bitllm", "hf_bitnet_dense",
                                         "mlx_qwen3_5_b1", "hf_internlm2", "hf_apertus",
                                         "hf_nanochat", "hf_nemotron", "hf_gemma", "hf_ministral3",
                                         "hf_gpt_oss", "mlx_gpt_oss_mxfp4", "mlx_glm4_b4",
                                         "hf_kimi_linear", "hf_mamba", "hf_nemotron_h",
                                         "hf_gemma4_text", "hf_gemma3n_text", "hf_phimoe",
                                         "mlx_qwen3_moe_b3"),
                         [](const auto& name) { return std::string(name.param); });

// Rows of packed codes that only fill the last bytes: the configuration says how many there are.
TEST(BitnetImport, ShapesOfTheConfigurationDropPadding) {
  const nlohmann::json config = {
      {"model_type", "llama"},    {"vocab_size", 4},
      {"hidden_size", 8},         {"intermediate_size", 6},
      {"num_hidden_layers", 1},   {"num_attention_heads", 2},
      {"num_key_value_heads", 1}, {"quantization_config", {{"quant_method", "bitnet"}}}};
  std::vector<frontends::TestTensor> tensors = {
      frontends::f32_tensor("model.embed_tokens.weight", {4, 8}, std::vector<float>(32, 1)),
      frontends::f32_tensor("model.norm.weight", {8}, std::vector<float>(8, 1))};
  const std::string layer = "model.layers.0.";
  for (const char* norm : {"input_layernorm.weight", "post_attention_layernorm.weight"})
    tensors.push_back(frontends::f32_tensor(layer + norm, {8}, std::vector<float>(8, 1)));
  const auto add = [&](const std::string& name, int64_t byte_rows, int64_t in) {
    const std::string bytes(static_cast<size_t>(byte_rows * in), '\x55');  // codes of 0
    tensors.push_back({layer + name + ".weight", "U8", {byte_rows, in}, bytes});
    tensors.push_back(frontends::f32_tensor(layer + name + ".weight_scale", {1}, {2}));
  };
  add("self_attn.q_proj", 2, 8);
  add("self_attn.k_proj", 1, 8);
  add("self_attn.v_proj", 1, 8);
  add("self_attn.o_proj", 2, 8);
  add("mlp.gate_proj", 2, 8);  // 6 of 8 rows
  add("mlp.up_proj", 2, 8);
  add("mlp.down_proj", 2, 6);
  const frontends::TempDir folder;
  folder.write("config.json", config.dump());
  folder.write("model.safetensors", frontends::safetensors_bytes(tensors));
  const auto checkpoint = frontends::open_checkpoint(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = import_checkpoint(**checkpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  ir::InterpreterState state;
  const auto logits = ir::interpret(model->module, **checkpoint, {{1}, 1}, state);
  ASSERT_TRUE(logits.ok()) << logits.status();
  EXPECT_EQ(logits->data.size(), 4U);
  EXPECT_EQ((*checkpoint)->matrix("model.layers.0.mlp.up_proj")->type.rows(), 6);
}

#ifdef SINTER_MORE_GOLDENS
// Cases that lie beside the repository: all that are models.
TEST(MoreGoldens, TheInterpreterMatches) {
  int cases = 0;
  for (const auto& entry : fs::directory_iterator(SINTER_MORE_GOLDENS)) {
    const fs::path folder = entry.path();
    const std::string name = folder.filename().string();
    if (!fs::exists(folder / "golden.safetensors")) continue;
    const fs::path file = fs::exists(folder / "model.gguf") ? folder / "model.gguf" : folder;
    SCOPED_TRACE(name);
    expect_logits(file, folder);
    ++cases;
  }
  EXPECT_GE(cases, 100);
}
#endif

class GgufGoldens : public testing::TestWithParam<const char*> {};

TEST_P(GgufGoldens, TheInterpreterMatches) {
  const fs::path folder = golden_folder(GetParam());
  expect_logits(folder / "model.gguf", folder);
}

INSTANTIATE_TEST_SUITE_P(All, GgufGoldens,
                         testing::Values("gguf_qwen3_bf16", "gguf_llama_f16", "gguf_llama_q4_0",
                                         "gguf_qwen3_q4_1", "gguf_llama_q5_0", "gguf_qwen3_q5_1",
                                         "gguf_llama_q8_0", "gguf_qwen3_q2_0", "gguf_qwen3_tq2_0",
                                         "gguf_llama_rope_freqs", "gguf_qwen3_yarn",
                                         "gguf_tokenizer", "gguf_llama_mixed", "gguf_llama_mxfp4",
                                         "gguf_llama_q1_0", "gguf_llama_q3_k", "gguf_llama_q5_k",
                                         "gguf_llama_tq1_0", "gguf_qwen3_iq4_nl", "gguf_qwen3_q2_k",
                                         "gguf_qwen3_q4_k", "gguf_qwen3_q6_k", "gguf_phi3",
                                         "gguf_gpt_oss", "gguf_qwen35_hadamard_pq2_0"),
                         [](const auto& name) { return std::string(name.param); });

// The file with every tensor decoded to F32, block by block.
frontends::GgufFile decoded_file(const frontends::Gguf& gguf) {
  frontends::GgufFile file;
  for (const auto& [key, value] : gguf.metadata.items()) {
    if (value.is_string()) {
      file.keys.push_back(frontends::key_text(key, value.get<std::string>()));
    } else if (value.is_number_unsigned()) {
      file.keys.push_back(frontends::key_u32(key, value.get<uint32_t>()));
    } else if (value.is_number_float()) {
      file.keys.push_back(frontends::key_f32(key, value.get<float>()));
    }
  }
  for (const auto& [name, tensor] : gguf.tensors) {
    const frontends::GgmlType& type = *tensor.type;
    EXPECT_NE(type.decode, nullptr) << type.name;
    const size_t blocks = tensor.bytes.size() / type.block_bytes;
    std::vector<float> decoded(blocks * type.block_elements);
    for (size_t i = 0; i < blocks; ++i) {
      type.decode(tensor.bytes.data() + i * type.block_bytes,
                  decoded.data() + i * type.block_elements);
    }
    file.tensors.push_back(
        frontends::f32_entry(name, {tensor.shape.rbegin(), tensor.shape.rend()}, decoded));
  }
  return file;
}

class GgmlDecoders : public testing::TestWithParam<const char*> {};

// The plain decoders of blocks, by the logits of whole models.
TEST_P(GgmlDecoders, DecodedModelsMatch) {
  const fs::path folder = golden_folder(GetParam());
  const auto gguf = frontends::open_gguf(folder / "model.gguf");
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  const frontends::TempDir temporary;
  expect_logits(temporary.write("decoded.gguf", decoded_file(*gguf).bytes()), folder);
}

INSTANTIATE_TEST_SUITE_P(All, GgmlDecoders,
                         testing::Values("gguf_llama_mixed", "gguf_llama_mxfp4", "gguf_llama_q1_0",
                                         "gguf_llama_q3_k", "gguf_llama_q5_k", "gguf_llama_tq1_0",
                                         "gguf_qwen3_iq4_nl", "gguf_qwen3_q2_k", "gguf_qwen3_q4_k",
                                         "gguf_qwen3_q6_k", "gguf_qwen3_q5_1", "gguf_llama_q5_0",
                                         "gguf_qwen3_tq2_0", "gguf_qwen3_q2_0"),
                         [](const auto& name) { return std::string(name.param); });

}  // namespace
}  // namespace sinter::models
