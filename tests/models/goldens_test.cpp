// GGUF models against logits computed by transformers: the reference interpreter on the imported
// graph.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "frontends/json_file.h"
#include "frontends/safetensors.h"
#include "ir/interpreter.h"
#include "models/registry.h"

namespace sinter::models {
namespace {

namespace fs = std::filesystem;

// The case's folder in the repository, else in the full set beside it or where SINTER_GOLDENS says.
fs::path golden_folder(const std::string& name) {
  const fs::path own = fs::path(SINTER_TEST_GOLDENS) / name;
  if (fs::exists(own)) return own;
  const char* path = std::getenv("SINTER_GOLDENS");
  return fs::path(path != nullptr ? path : SINTER_SHARED_GOLDENS) / name;
}

template <class T>
std::vector<T> numbers(const frontends::StoredTensor& tensor) {
  std::vector<T> out(tensor.bytes.size() / sizeof(T));
  std::memcpy(out.data(), tensor.bytes.data(), out.size() * sizeof(T));
  return out;
}

class GgufGoldens : public testing::TestWithParam<const char*> {};

TEST_P(GgufGoldens, TheInterpreterMatches) {
  const fs::path folder = golden_folder(GetParam());
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto checkpoint = frontends::open_checkpoint(folder / "model.gguf");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = import_checkpoint(**checkpoint);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto stored = frontends::open_safetensors(folder / "golden.safetensors");
  ASSERT_TRUE(stored.ok()) << stored.status();
  const auto ids = numbers<int32_t>(stored->tensors.at("input_ids"));
  const auto expected = numbers<float>(stored->tensors.at("logits"));
  const auto details = frontends::read_json_object(folder / "case.json");
  ASSERT_TRUE(details.ok()) << details.status();
  const auto tolerance = frontends::get_double(*details, "rel_tol_f32", "case.json");
  ASSERT_TRUE(tolerance.ok()) << tolerance.status();

  ir::InterpreterState state;
  const auto logits =
      ir::interpret(model->module, **checkpoint, {ids, static_cast<int64_t>(ids.size())}, state);
  ASSERT_TRUE(logits.ok()) << logits.status();
  ASSERT_EQ(logits->data.size(), expected.size());
  const size_t vocab = expected.size() / ids.size();
  double worst = 0;
  for (size_t t = 0; t < ids.size(); ++t) {
    double difference = 0;
    double size = 0;
    for (size_t i = t * vocab; i < (t + 1) * vocab; ++i) {
      ASSERT_TRUE(std::isfinite(logits->data[i])) << "position " << t;
      difference += std::pow(double{logits->data[i]} - expected[i], 2);
      size += std::pow(double{expected[i]}, 2);
    }
    worst = std::max(worst, std::sqrt(difference / size));
  }
  EXPECT_LE(worst, *tolerance);
}

INSTANTIATE_TEST_SUITE_P(All, GgufGoldens,
                         testing::Values("gguf_qwen3_f32", "gguf_qwen3_bf16", "gguf_llama_f16",
                                         "gguf_llama_q4_0", "gguf_qwen3_q4_1", "gguf_llama_q5_0",
                                         "gguf_qwen3_q5_1", "gguf_llama_q8_0", "gguf_qwen3_q2_0",
                                         "gguf_qwen3_tq2_0", "gguf_llama_rope_freqs",
                                         "gguf_qwen3_yarn", "gguf_tokenizer"),
                         [](const auto& name) { return std::string(name.param); });

TEST(Gguf, TypesWithoutAFormatAreNamed) {
  const fs::path folder = golden_folder("gguf_llama_mixed");
  if (!fs::exists(folder)) GTEST_SKIP() << folder << " is not there";
  const auto checkpoint = frontends::open_checkpoint(folder);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto model = import_checkpoint(**checkpoint);
  ASSERT_FALSE(model.ok());
  EXPECT_NE(std::string(model.status().message()).find("_K"), std::string::npos) << model.status();
}

}  // namespace
}  // namespace sinter::models
