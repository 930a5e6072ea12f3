// Tokenizers in the metadata of a GGUF file. Encodings against other tools are goldens.
#include "frontends/gguf_tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "runtime/chat_template.h"
#include "runtime/tokenizer.h"
#include "tests/frontends/gguf_writer.h"

namespace sinter::frontends {
namespace {

using Ids = std::vector<int32_t>;

const std::string kSpace = "\xE2\x96\x81";

class GgufTokenizerTest : public testing::Test {
 protected:
  absl::StatusOr<runtime::TokenizerFiles> open(const std::vector<GgufKey>& keys) {
    GgufFile file;
    file.keys = keys;
    file.tensors = {f32_entry("a", {1}, {1})};
    return open_gguf_tokenizer(dir_.write("model.gguf", file.bytes()));
  }
  // With one key replaced or added.
  absl::StatusOr<runtime::TokenizerFiles> open_with(std::vector<GgufKey> keys, GgufKey key) {
    std::erase_if(keys, [&](const GgufKey& other) { return other.name == key.name; });
    keys.push_back(std::move(key));
    return open(keys);
  }
  runtime::Tokenizer load(const absl::StatusOr<runtime::TokenizerFiles>& files) {
    EXPECT_TRUE(files.ok()) << files.status();
    auto tokenizer =
        runtime::Tokenizer::from_json(files->tokenizer_json, files->tokenizer_config_json);
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    return *tokenizer;
  }
  TempDir dir_;
};

std::vector<GgufKey> byte_level_keys() {
  return {key_text("tokenizer.ggml.model", "gpt2"),
          key_text("tokenizer.ggml.pre", "gpt-2"),
          key_texts("tokenizer.ggml.tokens", {"a", "b", "ab", "<|x|>"}),
          key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32, {1, 1, 1, 3}),
          key_texts("tokenizer.ggml.merges", {"a b"}),
          key_u32("tokenizer.ggml.bos_token_id", 3),
          key_text("tokenizer.chat_template", "T")};
}

std::vector<GgufKey> sentencepiece_keys() {
  return {key_text("tokenizer.ggml.model", "llama"),
          key_texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", kSpace, "a", "b", "ab"}),
          key_numbers<float>("tokenizer.ggml.scores", kGgufFloat32, {0, 0, 0, -3, -2, -2, -1}),
          key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32, {2, 3, 3, 1, 1, 1, 1}),
          key_u32("tokenizer.ggml.bos_token_id", 1),
          key_u32("tokenizer.ggml.eos_token_id", 2)};
}

TEST_F(GgufTokenizerTest, HasChatTemplatesByName) {
  const auto files =
      open_with(byte_level_keys(), key_text("tokenizer.chat_template.tool_use", "{{ tools }}"));
  ASSERT_TRUE(files.ok()) << files.status();
  EXPECT_EQ(runtime::ChatTemplates::from_text(files->chat_template),
            (runtime::ChatTemplates::Texts{{"default", "T"}, {"tool_use", "{{ tools }}"}}));
}

TEST_F(GgufTokenizerTest, ReadsByteLevelBpe) {
  const auto files = open(byte_level_keys());
  const runtime::Tokenizer tokenizer = load(files);
  EXPECT_EQ(*tokenizer.encode("abba<|x|>", true), (Ids{2, 1, 0, 3}));
  EXPECT_TRUE(tokenizer.is_special(3));
  EXPECT_EQ(files->chat_template, "T");
  EXPECT_EQ(files->tokenizer_config_json, R"({"bos_token":"<|x|>"})");
  const auto with_bos =
      open_with(byte_level_keys(), key_bool("tokenizer.ggml.add_bos_token", true));
  EXPECT_EQ(*load(with_bos).encode("ab", true), (Ids{3, 2}));
}

TEST_F(GgufTokenizerTest, ReadsSentencePiece) {
  const runtime::Tokenizer tokenizer = load(open(sentencepiece_keys()));
  EXPECT_EQ(*tokenizer.encode("ab b", true), (Ids{1, 3, 6, 3, 5}));
  EXPECT_EQ(*tokenizer.encode("?", false), (Ids{3, 0}));
  EXPECT_EQ(tokenizer.decode(Ids{1, 3, 6, 3, 5}, true), "ab b");
  const auto plain =
      open_with(sentencepiece_keys(), key_bool("tokenizer.ggml.add_space_prefix", false));
  EXPECT_EQ(*load(plain).encode("ab", false), (Ids{6}));
}

TEST_F(GgufTokenizerTest, AFileMayHaveNone) {
  for (const auto& keys : {std::vector<GgufKey>{}, {key_text("tokenizer.ggml.model", "none")}}) {
    const auto files = open(keys);
    ASSERT_TRUE(files.ok()) << files.status();
    EXPECT_EQ(files->tokenizer_json, "");
  }
}

TEST_F(GgufTokenizerTest, WhatIsWrongIsNamed) {
  const auto bpe = byte_level_keys(), pieces = sentencepiece_keys();
  expect_error(open_with(bpe, key_text("tokenizer.ggml.model", "rwkv")),
               {"model.gguf", "\"tokenizer.ggml.model\" is \"rwkv\"", "gpt2, llama, t5"});
  expect_error(open_with(bpe, key_text("tokenizer.ggml.pre", "odd")),
               {"\"tokenizer.ggml.pre\" is \"odd\"", "qwen2"});
  expect_error(open_with(bpe, key_u32("tokenizer.ggml.tokens", 1)), {"tokenizer.ggml.tokens"});
  expect_error(open_with(bpe, key_texts("tokenizer.ggml.tokens", {"a", "a", "ab", "<|x|>"})),
               {"\"tokenizer.ggml.tokens\" has \"a\" twice"});
  expect_error(open_with(bpe, key_texts("tokenizer.ggml.tokens", {"a", "b", "ab"})),
               {"\"tokenizer.ggml.token_type\" has 4 entries, but there are 3 tokens"});
  expect_error(open_with(bpe, key_texts("tokenizer.ggml.tokens", {"a", "\xFF", "ab", "x"})),
               {"\"tokenizer.ggml.tokens\"[1] is not UTF-8"});
  expect_error(
      open_with(bpe, key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32, {1, 7, 1, 1})),
      {"\"tokenizer.ggml.token_type\"[1] is 7, expected 1 to 6"});
  expect_error(open_with(bpe, key_u32("tokenizer.ggml.bos_token_id", 4)),
               {"tokenizer.ggml.bos_token_id"});
  expect_error(open_with(bpe, key_texts("tokenizer.ggml.merges", {"a c"})),
               {"the tokenizer cannot be used", "merges"});
  expect_error(open_with(bpe, key_bool("tokenizer.ggml.add_space_prefix", true)),
               {"\"tokenizer.ggml.add_space_prefix\" is true, which is not supported"});
  expect_error(open_with(pieces, key_numbers<float>("tokenizer.ggml.scores", kGgufFloat32, {0})),
               {"\"tokenizer.ggml.scores\" has 1 entries, but there are 7 tokens"});
  expect_error(open_with(pieces, key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32,
                                                      {1, 3, 3, 1, 1, 1, 1})),
               {"the tokenizer cannot be used", "no piece is the unknown one"});
  expect_error(open_with(pieces, key_texts("tokenizer.ggml.precompiled_charsmap", {"x"})),
               {"\"tokenizer.ggml.precompiled_charsmap\" has \"x\", expected bytes"});
}

}  // namespace
}  // namespace sinter::frontends
