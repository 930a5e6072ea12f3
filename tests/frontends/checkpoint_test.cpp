#include "frontends/checkpoint.h"
#include "frontends/open/open_checkpoint.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "tests/frontends/test_files.h"

namespace sinter::frontends {
namespace {

class CheckpointTest : public testing::Test {
 protected:
  CheckpointTest() {
    dir_.write("config.json", R"({"model_type": "qwen3"})");
    write_weights({f32_tensor("model.layers.0.q_proj.weight", {2, 2}, {1, 2, 3, 4}),
                   f32_tensor("model.layers.0.q_proj.bias", {2}, {5, 6}),
                   f32_tensor("model.layers.0.rotary_emb.inv_freq", {2}, {7, 8}),
                   {"model.norm.weight", "BF16", {2}, std::string("\x80\x3f\0\0", 4)},
                   {"model.ids", "I64", {1}, std::string(8, '\0')},
                   f32_tensor("model.conv.weight", {1, 1, 1, 2}, {1, 2}),
                   f32_tensor("model.scalar", {}, {1}),
                   {"model.none.weight", "F32", {0, 2}, ""}});
  }
  void write_weights(const std::vector<TestTensor>& tensors) {
    dir_.write("model.safetensors", safetensors_bytes(tensors));
  }
  std::unique_ptr<Checkpoint> open_good() {
    auto checkpoint = open_checkpoint(dir_.path());
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return checkpoint.ok() ? *std::move(checkpoint) : std::make_unique<Checkpoint>();
  }
  TempDir dir_;
};

TEST_F(CheckpointTest, NamesModulesWithoutTheWeightSuffix) {
  const auto checkpoint = open_good();
  const auto weight = checkpoint->matrix("model.layers.0.q_proj");
  ASSERT_TRUE(weight.ok()) << weight.status();
  EXPECT_EQ(weight->type.shape, (std::vector<int64_t>{2, 2}));
  EXPECT_TRUE(weight->type.format.is_dense());
  float row[2];
  ir::decode_row(*weight, 1, row);
  EXPECT_EQ(row[0], 3);
  EXPECT_EQ(row[1], 4);
  const auto bias = checkpoint->matrix("model.layers.0.q_proj.bias");
  ASSERT_TRUE(bias.ok()) << bias.status();
  ir::decode_row(*bias, 0, row);
  EXPECT_EQ(row[1], 6);
  const auto norm = checkpoint->matrix("model.norm");
  ASSERT_TRUE(norm.ok()) << norm.status();
  EXPECT_EQ(norm->type.format.scale_type, ir::DType::bf16);
  EXPECT_EQ(checkpoint->config["model_type"], "qwen3");
}

TEST_F(CheckpointTest, SkipsInverseFrequencies) {
  const auto checkpoint = open_good();
  EXPECT_FALSE(checkpoint->has("model.layers.0.rotary_emb.inv_freq"));
  EXPECT_FALSE(checkpoint->unsupported.contains("model.layers.0.rotary_emb.inv_freq"));
}

TEST_F(CheckpointTest, UsingAnUnsupportedTensorSaysWhatItIs) {
  const auto checkpoint = open_good();
  EXPECT_FALSE(checkpoint->has("model.ids"));
  expect_error(
      checkpoint->matrix("model.ids"),
      {"model.safetensors: tensor \"model.ids\" is I64 [1]; supported are F16, BF16 and F32"});
  expect_error(checkpoint->matrix("model.none"), {"\"model.none.weight\" is F32 [0, 2]"});
}

// Extents of 1 only say how a tensor is broadcast.
TEST_F(CheckpointTest, ExtentsOfOneAreDropped) {
  const auto checkpoint = open_good();
  EXPECT_EQ(checkpoint->matrix("model.conv")->type.shape, (std::vector<int64_t>{2}));
  EXPECT_EQ(checkpoint->matrix("model.scalar")->type.shape, (std::vector<int64_t>{1}));
}

TEST_F(CheckpointTest, StackedMatricesFollowOneAnother) {
  write_weights({f32_tensor("experts.weight", {2, 1, 2}, {1, 2, 3, 4})});
  const auto matrix = open_good()->matrix("experts");
  ASSERT_TRUE(matrix.ok()) << matrix.status();
  EXPECT_EQ(matrix->type.rows(), 2);
}

TEST_F(CheckpointTest, AMissingTensorIsNamedWithNearMisses) {
  const auto checkpoint = open_good();
  expect_error(checkpoint->matrix("model.layers.1.q_proj"),
               {dir_.path().string() + ": tensor \"model.layers.1.q_proj\" is missing",
                "did you mean \"model.layers.0.q_proj\""});
  expect_error(checkpoint->matrix("norm"), {"did you mean \"model.norm\""});
  expect_error(checkpoint->matrix("model.norm.weight"), {"did you mean \"model.norm\""});
  expect_error(checkpoint->matrix("transformer.norm"), {"did you mean \"model.norm\""});
  const auto far = checkpoint->matrix("something.else.entirely");
  expect_error(far, {"\"something.else.entirely\" is missing"});
  EXPECT_EQ(std::string(far.status().message()).find("did you mean"), std::string::npos);
}

TEST_F(CheckpointTest, AtMostThreeNearMissesAreNamed) {
  std::vector<TestTensor> tensors;
  for (const char* name : {"w1", "w2", "w3", "w4", "w5"})
    tensors.push_back(f32_tensor(name, {1}, {0}));
  write_weights(tensors);
  const auto missing = open_good()->matrix("w6");
  expect_error(missing, {"did you mean \"w1\", \"w2\", \"w3\""});
  EXPECT_EQ(std::string(missing.status().message()).find("w4"), std::string::npos);
}

TEST_F(CheckpointTest, TensorsThatNobodyUsedAreNamed) {
  const auto checkpoint = open_good();
  std::set<std::string> used;
  expect_error(checkpoint->check_all_used(used), {dir_.path().string() + ": 7 tensors are not used",
                                                  "\"model.layers.0.q_proj\"", "..."});
  for (const auto& [name, matrix] : checkpoint->matrices) used.insert(name);
  expect_error(checkpoint->check_all_used(used), {"2 tensors are not used", "\"model.ids\""});
  for (const auto& [name, reason] : checkpoint->unsupported) used.insert(name);
  EXPECT_TRUE(checkpoint->check_all_used(used).ok());
  used.erase("model.norm");
  expect_error(checkpoint->check_all_used(used), {"1 tensor is not used", ": \"model.norm\";"});
}

TEST_F(CheckpointTest, TwoTensorsOfOneModuleNameAreRefused) {
  write_weights({f32_tensor("model.norm", {1}, {1}), f32_tensor("model.norm.weight", {1}, {1})});
  expect_error(open_checkpoint(dir_.path()),
               {"model.safetensors: tensors \"model.norm\" and \"model.norm.weight\""});
}

TEST_F(CheckpointTest, AFileStandsForItsFolder) {
  const auto checkpoint = open_checkpoint(dir_.path() / "model.safetensors");
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->path, dir_.path());
  dir_.write("other.safetensors", safetensors_bytes({f32_tensor("other.weight", {1}, {3})}));
  const auto other = open_checkpoint(dir_.path() / "other.safetensors");
  ASSERT_TRUE(other.ok()) << other.status();
  EXPECT_TRUE((*other)->has("other"));
  EXPECT_FALSE((*other)->has("model.norm"));
  expect_error(open_checkpoint(dir_.path() / "gone.safetensors"),
               {"gone.safetensors: no such file"});
  expect_error(open_checkpoint(dir_.path() / "config.json"),
               {"config.json: expected a model folder"});
  expect_error(open_checkpoint(dir_.path() / "gone"), {"gone: no such file or folder"});
}

TEST_F(CheckpointTest, MissingFilesAreNamed) {
  std::filesystem::remove(dir_.path() / "model.safetensors");
  expect_error(open_checkpoint(dir_.path()), {dir_.path().string(), "model.safetensors"});
  std::filesystem::remove(dir_.path() / "config.json");
  expect_error(open_checkpoint(dir_.path()), {"config.json: no such file", "needs it"});
}

TEST_F(CheckpointTest, BrokenJsonIsNamed) {
  dir_.write("generation_config.json", "{");
  expect_error(open_checkpoint(dir_.path()), {"generation_config.json:1:2: not valid JSON"});
  dir_.write("generation_config.json", "{}");
  dir_.write("tokenizer_config.json", "{\"a\"}");
  expect_error(open_checkpoint(dir_.path()), {"tokenizer_config.json: broken JSON at byte 5 of 5"});
  dir_.write("config.json", "nope");
  expect_error(open_checkpoint(dir_.path()), {"config.json:1:2: not valid JSON"});
}

TEST_F(CheckpointTest, ReadsTheTextFilesThatAreThere) {
  const auto without = open_good();
  EXPECT_TRUE(without->generation_config.is_null());
  EXPECT_EQ(without->tokenizer_json, "");
  dir_.write("generation_config.json", R"({"eos_token_id": [1, 2]})");
  const std::string tokenizer = R"({"model": {"vocab": {"a": 0}, "merges": []}})";
  dir_.write("tokenizer.json", tokenizer);
  dir_.write("tokenizer_config.json", R"({"chat_template": "from config"})");
  auto checkpoint = open_good();
  EXPECT_EQ(checkpoint->generation_config["eos_token_id"][1], 2);
  EXPECT_EQ(checkpoint->tokenizer_json, tokenizer);
  EXPECT_EQ(checkpoint->chat_template, "from config");
  dir_.write("chat_template.jinja", "from jinja\n");
  EXPECT_EQ(open_good()->chat_template, "from jinja\n");
}

TEST_F(CheckpointTest, KeepsSeveralChatTemplatesByTheirNames) {
  dir_.write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "rag", "template": "R"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ(open_good()->chat_template, R"({"rag":"R","default":"D"})");
  dir_.write("tokenizer_config.json", R"({"chat_template": 3})");
  expect_error(open_checkpoint(dir_.path()),
               {"tokenizer_config.json: chat_template is a number, expected an array"});
}

TEST_F(CheckpointTest, ATensorThatTheIndexListsIsMissingWithItsFile) {
  write_weights({f32_tensor("a.weight", {1}, {1})});
  dir_.write("model.safetensors.index.json",
             R"({"weight_map": {"a.weight": "model.safetensors", "b.weight": "model.safetensors",
                 "c": "gone.safetensors"}})");
  const auto checkpoint = open_good();
  EXPECT_TRUE(checkpoint->check_all_used({"a"}).ok());
  expect_error(checkpoint->matrix("b"),
               {"tensor \"b.weight\" is missing; model.safetensors.index.json says that it is in "
                "\"model.safetensors\", which lacks it"});
  expect_error(checkpoint->matrix("c"), {"\"gone.safetensors\", which is missing"});
}

TEST_F(CheckpointTest, GitLfsPointersAreNamed) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:00ff\nsize 1234567\n";
  for (const char* name : {"tokenizer_config.json", "generation_config.json", "chat_template.jinja",
                           "model.safetensors", "config.json"}) {
    const TempDir folder;
    folder.write("config.json", R"({"model_type": "qwen3"})");
    folder.write("model.safetensors", read_bytes(dir_.path() / "model.safetensors"));
    ASSERT_TRUE(open_checkpoint(folder.path()).ok());
    folder.write(name, pointer);
    expect_error(open_checkpoint(folder.path()), {name, "is a Git LFS pointer", "git lfs pull"});
  }
  // Without a tokenizer a model takes token ids.
  for (const char* name : {"tokenizer.json", "tokenizer.model"}) {
    const TempDir folder;
    folder.write("config.json", R"({"model_type": "qwen3"})");
    folder.write("model.safetensors", read_bytes(dir_.path() / "model.safetensors"));
    folder.write(name, pointer);
    const auto checkpoint = open_checkpoint(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    ASSERT_FALSE((*checkpoint)->notes.empty());
    EXPECT_NE((*checkpoint)->notes[0].find(std::string(name) + ": is a Git LFS pointer"),
              std::string::npos)
        << (*checkpoint)->notes[0];
  }
  for (const char* name : {"model.gguf", "pytorch_model.bin", "sha256-00"}) {
    const TempDir folder;
    folder.write("config.json", R"({"model_type": "qwen3"})");
    expect_error(open_checkpoint(folder.write(name, pointer)), {name, "is a Git LFS pointer"});
  }
}

TEST_F(CheckpointTest, WhatWasMadeLivesAsLongAsItsCopies) {
  auto checkpoint = std::make_unique<Checkpoint>();
  const auto kept = checkpoint->keep({1, 2, 3});
  const Checkpoint copy = *checkpoint;
  checkpoint.reset();
  EXPECT_EQ(copy.buffers.front()->data(), kept.data());
  EXPECT_EQ(kept[2], 3);
}

TEST_F(CheckpointTest, RemembersEveryFileThatItRead) {
  write_weights({f32_tensor("a.weight", {1}, {1})});
  std::set<std::string> written = {"config.json", "model.safetensors"};
  const auto add = [&](const char* name, const char* text) {
    dir_.write(name, text);
    written.insert(name);
  };
  add("generation_config.json", "{}");
  add("model.safetensors.index.json", R"({"weight_map": {"a.weight": "model.safetensors"}})");
  add("tokenizer.json", "damaged");
  add("vocab.json", "{}");
  add("merges.txt", "");
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"})
    add(name, "{}");
  add("chat_template.jinja", "");
  dir_.write("README.md", "A model.");
  const auto checkpoint = open_good();
  std::set<std::string> read;
  for (const runtime::SourceFile& source : checkpoint->sources)
    read.insert(std::filesystem::path(source.path).filename().string());
  EXPECT_EQ(read, written);
  EXPECT_TRUE(runtime::check_unchanged(checkpoint->sources).ok());
  dir_.write("merges.txt", "a b");
  const auto changed = runtime::check_unchanged(checkpoint->sources);
  ASSERT_FALSE(changed.ok());
  EXPECT_NE(changed.error().message.find("merges.txt: changed while it was read"),
            std::string::npos);
}

TEST_F(CheckpointTest, AnIndexMayNameTheSingleFile) {
  write_weights({f32_tensor("a.weight", {1}, {1})});
  dir_.write("model.safetensors.index.json",
             R"({"weight_map": {"a.weight": "model.safetensors"}})");
  EXPECT_TRUE(open_good()->has("a"));
  dir_.write("shard.safetensors", safetensors_bytes({f32_tensor("a.weight", {1}, {1})}));
  dir_.write("model.safetensors.index.json",
             R"({"weight_map": {"a.weight": "shard.safetensors"}})");
  expect_error(open_checkpoint(dir_.path()),
               {"model.safetensors.index.json: does not list model.safetensors"});
}

}  // namespace
}  // namespace sinter::frontends
