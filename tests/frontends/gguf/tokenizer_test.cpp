// Tokenizers in the metadata of a GGUF file. Encodings against other tools are goldens.
#include "frontends/gguf/tokenizer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "frontends/open/open_checkpoint.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/tokenizer/tokenizer.h"
#include "tests/frontends/gguf/writer.h"

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

// Replaces or adds a key.
void set(std::vector<GgufKey>* keys, GgufKey key) {
  std::erase_if(*keys, [&](const GgufKey& other) { return other.name == key.name; });
  keys->push_back(std::move(key));
}

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
  EXPECT_EQ(*tokenizer.decode(Ids{1, 3, 6, 3, 5}, true), "ab b");
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

TEST_F(GgufTokenizerTest, OneThatCannotBeUsedIsNamedInANote) {
  const auto bpe = byte_level_keys(), pieces = sentencepiece_keys();
  const auto expect_note = [&](const absl::StatusOr<runtime::TokenizerFiles>& files,
                               const std::vector<std::string>& parts) {
    ASSERT_TRUE(files.ok()) << files.status();
    EXPECT_EQ(files->tokenizer_json, "");
    ASSERT_FALSE(files->notes.empty());
    for (const std::string& part : parts)
      EXPECT_NE(files->notes.back().find(part), std::string::npos) << files->notes.back();
    EXPECT_TRUE(files->notes.back().ends_with("; the model can be used with token ids only"));
  };
  expect_note(open_with(bpe, key_text("tokenizer.ggml.model", "rwkv")),
              {"\"tokenizer.ggml.model\" is \"rwkv\"", "gpt2, llama, t5"});
  expect_note(
      open_with(bpe, key_text("tokenizer.ggml.pre", "of-nobody")),
      {"\"tokenizer.ggml.pre\" is \"of-nobody\", whose split pattern is not known; ", "others"});
  expect_note(open_with(bpe, key_text("tokenizer.ggml.pre", "qwen3")),
              {"\"tokenizer.ggml.pre\" is \"qwen3\"", "did you mean \"qwen2\""});
  expect_note(open_with(bpe, key_texts("tokenizer.ggml.tokens", {})),
              {"\"tokenizer.ggml.tokens\" is empty"});
  expect_note(open_with(bpe, key_u32("tokenizer.ggml.tokens", 1)), {"tokenizer.ggml.tokens"});
  expect_note(open_with(bpe, key_texts("tokenizer.ggml.tokens", {"a", "b", "ab"})),
              {"\"tokenizer.ggml.token_type\" has 4 entries, but there are 3 tokens"});
  expect_note(open_with(bpe, key_texts("tokenizer.ggml.merges", {"a c"})),
              {"\"tokenizer.ggml.merges\"[0] is \"a c\", which needs the token \"c\""});
  expect_note(open_with(bpe, key_texts("tokenizer.ggml.merges", {"ab"})),
              {"\"tokenizer.ggml.merges\"[0] is \"ab\", expected two tokens"});
  expect_note(open_with(pieces, key_numbers<float>("tokenizer.ggml.scores", kGgufFloat32, {0})),
              {"\"tokenizer.ggml.scores\" has 1 entries, but there are 7 tokens"});
  expect_note(open_with(pieces, key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32,
                                                     {1, 3, 3, 1, 1, 1, 1})),
              {"no token has the type 2 (unknown)"});
  expect_note(open_with(pieces, key_texts("tokenizer.ggml.precompiled_charsmap", {"x"})),
              {"\"tokenizer.ggml.precompiled_charsmap\" is not an array of bytes"});
  expect_note(open_with(pieces, key_numbers<float>("tokenizer.ggml.scores", kGgufFloat32,
                                                   {0, 0, 0, NAN, -2, -2, -1})),
              {"\"tokenizer.ggml.scores\"[3] is nan, expected a finite number"});
  expect_note(
      open_with(pieces, key_numbers<uint8_t>("tokenizer.ggml.precompiled_charsmap", 0, {1, 2, 3})),
      {"\"tokenizer.ggml.precompiled_charsmap\"", "damaged"});
}

// Of 65,536 unused ids a file is taken to be broken; these are used.
TEST_F(GgufTokenizerTest, OneTokenMayFillTheWholeVocabulary) {
  auto keys = byte_level_keys();
  set(&keys, key_texts("tokenizer.ggml.tokens", std::vector<std::string>(200000, "a")));
  set(&keys, key_texts("tokenizer.ggml.merges", {}));
  std::erase_if(keys, [](const GgufKey& key) { return key.name == "tokenizer.ggml.token_type"; });
  const runtime::Tokenizer tokenizer = load(open(keys));
  EXPECT_EQ(*tokenizer.encode("aa", false), (Ids{199999, 199999}));
  EXPECT_EQ(*tokenizer.decode(Ids{0, 1000}, false), "aa");
}

// "bert" marks pieces that begin a word; WordPiece those that do not.
TEST_F(GgufTokenizerTest, ReadsWordPiece) {
  const auto word = [](const char* text) { return kSpace + text; };
  const std::vector<GgufKey> keys = {
      key_text("tokenizer.ggml.model", "bert"),
      key_texts("tokenizer.ggml.tokens", {"[PAD]", "[UNK]", "[CLS]", "[SEP]", word("un"), "aff",
                                          "able", word("able"), word("!"), word("e")}),
      key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32, {3, 3, 3, 3, 1, 1, 1, 1, 1, 1}),
      key_u32("tokenizer.ggml.unknown_token_id", 1),
      key_u32("tokenizer.ggml.cls_token_id", 2),
      key_u32("tokenizer.ggml.seperator_token_id", 3)};
  const runtime::Tokenizer tokenizer = load(open(keys));
  EXPECT_EQ(*tokenizer.encode("Unaffable, able! \u00C9", true), (Ids{2, 4, 5, 6, 1, 7, 8, 9, 3}));
  EXPECT_EQ(*tokenizer.encode("aff", false), (Ids{1}));
  EXPECT_EQ(*tokenizer.decode(Ids{2, 4, 5, 6, 7, 8, 3}, true), "unaffable able!");
  // A vocabulary with capitals is for text with them.
  const runtime::Tokenizer cased =
      load(open_with(keys, key_texts("tokenizer.ggml.tokens",
                                     {"[PAD]", "[UNK]", "[CLS]", "[SEP]", word("Un"), "aff", "able",
                                      word("able"), word("!"), word("e")})));
  EXPECT_EQ(*cased.encode("Unaffable able unable", false), (Ids{4, 5, 6, 7, 1}));
  const auto none = open_with(
      keys, key_texts("tokenizer.ggml.tokens", {"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}));
  EXPECT_NE(none->tokenizer_json, "");  // the key names the unknown one
}

TEST_F(GgufTokenizerTest, SpecialTokensInTextAreTokens) {
  auto keys = sentencepiece_keys();
  set(&keys, key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32, {2, 3, 3, 1, 1, 3, 4}));
  set(&keys,
      key_texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", kSpace, "a", "<|x|>", "<y>"}));
  const runtime::Tokenizer tokenizer = load(open(keys));
  // Each part of the text between them has the space in front, as in llama.cpp.
  EXPECT_EQ(*tokenizer.encode("<s>a<|x|>a<y></s>", false), (Ids{1, 3, 4, 5, 3, 4, 6, 2}));
  EXPECT_EQ(*tokenizer.decode(Ids{1, 3, 4, 6, 2}, true), "a<y>");
  EXPECT_TRUE(tokenizer.is_special(5));
  EXPECT_FALSE(tokenizer.is_special(6));
}

TEST_F(GgufTokenizerTest, OfTokensWithTheSameTextTheLastCounts) {
  auto keys = byte_level_keys();
  set(&keys, key_texts("tokenizer.ggml.tokens", {"a", "b", "a", "<|x|>"}));
  set(&keys, key_texts("tokenizer.ggml.merges", {}));
  const auto files = open(keys);
  const runtime::Tokenizer tokenizer = load(files);
  ASSERT_EQ(files->notes.size(), 1u);
  EXPECT_NE(files->notes[0].find("such as \"a\""), std::string::npos);
  EXPECT_EQ(*tokenizer.encode("ab", false), (Ids{2, 1}));
  EXPECT_EQ(*tokenizer.decode(Ids{0, 1, 2}, false), "aba");
  EXPECT_EQ(tokenizer.vocab_size(), 4);

  auto pieces = sentencepiece_keys();
  set(&pieces, key_texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "</s>", kSpace, "a", "b", "a"}));
  const runtime::Tokenizer sentencepiece = load(open(pieces));
  EXPECT_EQ(*sentencepiece.encode("ab", false), (Ids{3, 6, 5}));
  EXPECT_EQ(*sentencepiece.decode(Ids{4, 6}, false), "aa");
}

TEST_F(GgufTokenizerTest, OddTypesAndIdsAreNotesAtMost) {
  const auto types = open_with(byte_level_keys(), key_numbers<int32_t>("tokenizer.ggml.token_type",
                                                                       kGgufInt32, {0, 0, 9, 3}));
  EXPECT_EQ(*load(types).encode("abba<|x|>", false), (Ids{2, 1, 0, 3}));
  EXPECT_EQ(types->notes.size(), 1u);
  for (const uint32_t id : {4u, UINT32_MAX}) {
    const auto files = open_with(byte_level_keys(), key_u32("tokenizer.ggml.bos_token_id", id));
    EXPECT_EQ(*load(files).encode("ab", true), (Ids{2}));
    ASSERT_EQ(files->notes.size(), 1u);
    EXPECT_NE(files->notes[0].find("\"tokenizer.ggml.bos_token_id\" is"), std::string::npos);
  }
  const auto bytes =
      open_with(byte_level_keys(), key_texts("tokenizer.ggml.tokens", {"a", "b", "ab", "\xFF"}));
  EXPECT_EQ(*load(bytes).decode(Ids{0, 3}, false), "a\uFFFD");
  const auto prefix =
      open_with(byte_level_keys(), key_bool("tokenizer.ggml.add_space_prefix", true));
  EXPECT_EQ(*load(prefix).encode("ab", false), (Ids{2}));
  EXPECT_EQ(prefix->notes.size(), 1u);
}

TEST_F(GgufTokenizerTest, TheKeySaysWhichPieceIsTheUnknownOne) {
  auto keys = sentencepiece_keys();
  set(&keys, key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32, {2, 3, 3, 1, 1, 1, 2}));
  EXPECT_EQ(*load(open(keys)).encode("?", false), (Ids{3, 0}));
  set(&keys, key_u32("tokenizer.ggml.unknown_token_id", 6));
  EXPECT_EQ(*load(open(keys)).encode("?", false), (Ids{3, 6}));
}

TEST_F(GgufTokenizerTest, AFileWithoutTensorsIsEnough) {
  GgufFile file;
  file.keys = byte_level_keys();
  const auto files = open_gguf_tokenizer(dir_.write("vocab.gguf", file.bytes()));
  EXPECT_EQ(*load(files).encode("ab", false), (Ids{2}));
  EXPECT_EQ(files->chat_template, "T");
}

TEST_F(GgufTokenizerTest, TokensOfCharactersHaveSymbolsForSpaces) {
  std::vector<std::string> texts = {"a", "b", kSpace, kSpace + "a", "\n", "\n\n", "<bos>"};
  std::vector<int32_t> types = {1, 1, 1, 1, 1, 1, 3};
  for (int byte = 0; byte < 256; ++byte) {
    texts.push_back(fmt::format("<0x{:02X}>", byte));
    types.push_back(6);
  }
  const auto files =
      open({key_text("tokenizer.ggml.model", "gemma4"), key_texts("tokenizer.ggml.tokens", texts),
            key_numbers<int32_t>("tokenizer.ggml.token_type", kGgufInt32, types),
            key_texts("tokenizer.ggml.merges", {kSpace + " a", "\n \n"}),
            key_u32("tokenizer.ggml.bos_token_id", 6)});
  const runtime::Tokenizer tokenizer = load(files);
  EXPECT_EQ(*tokenizer.encode("a a\n\nb?", true), (Ids{6, 0, 3, 5, 1, 7 + '?'}));
  EXPECT_EQ(*tokenizer.decode(Ids{0, 3, 5, 1, 7 + '?'}, true), "a a\n\nb?");
}

TEST_F(GgufTokenizerTest, SplitsAreThoseOfLlamaCpp) {
  struct Case {
    const char* pre;
    const char* text;
    std::vector<std::string> words;
  };
  // Read off the patterns of ggml-org/llama.cpp.
  const std::vector<Case> cases = {
      {"afmoe", "ab1234567,x", {"ab", "1", "234", "567", ",x"}},
      {"afmoe", "12345", {"12", "345"}},
      {"tiny_aya", "1234567", {"1", "234", "567"}},
      {"cohere2moe", "12 3456", {"12", " ", "3", "456"}},
      {"superbpe", "a b1234567", {"a b", "1", "234", "567"}},
      {"bailingmoe", "it's 12\n\nx", {"it", "'s", " ", "1", "2", "\n\n", "x"}},
      {"llada-moe", "it'S", {"it", "'S"}},
      {"bloom", "ab, c d", {"ab", ",", " c", " d"}},
      {"viking", "ab12 c", {"ab", "1", "2", " c"}},
      {"chameleon", "IMGIMGABZ x    y1", {"IMGIMGABZ", " x", "    ", "y", "1"}},
      {"deepseek-coder", "a b\n12!", {"a", " b", "\n", "1", "2", "!"}},
      {"deepseek-llm", "ab c!12", {"ab", " c", "!", "12"}},
      {"exaone-moe", "ab cd 1\n", {"ab cd", " ", "1", "\n"}},
      {"falcon", "a,b 1234", {"a", ",", "b", " ", "123", "4"}},
      {"jais-2", "a    b", {"a", "  ", " ", " b"}},
      {"kimi-k2", "ab's 1234", {"ab's", " ", "123", "4"}},
      {"laguna", "a b\n\nc1", {"a", " b", "\n\n", "c", "1"}},
      {"mellum2", "a12", {"a", "1", "2"}},
      {"minicpm5", "a1234 b", {"a", "123", "4", " b"}},
      {"seed-coder", "a!\n12", {"a", "!", "\n", "1", "2"}},
      {"talkie", "HelloWorld 1234", {"Hello", "World", " ", "123", "4"}},
      {"youtu", "HelloWorld12", {"Hello", "World", "1", "2"}},
      {"joyai-llm", "a1234 b", {"a", "123", "4", " b"}},
      {"jina-v5-nano", "it's 1234", {"it", "'s", " ", "123", "4"}},
      {"falcon_e", "a 1", {"a", " ", "1"}},
      {"f2llmv2", "a 12", {"a", " ", "1", "2"}},
      {"modern-bert", "a 12", {"a", " 12"}},
      {"granite-embed-multi", "HelloWorld", {"Hello", "World"}},
      {"gpt3-finnish", "a.b", {"a", ".", "b"}},
      {"poro-chat", "a b", {"a", " b"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.pre);
    // Every part of the text is a token, and all neighbours merge: a word is one token.
    const auto spell = [](const std::string& text) {
      std::string out;
      for (const char ch : text)
        out += ch == ' ' ? "\u0120" : ch == '\n' ? "\u010A" : std::string(1, ch);
      return out;
    };
    const std::string text = c.text;
    std::set<std::string> tokens;
    std::vector<std::string> merges;
    for (size_t length = 1; length <= text.size(); ++length) {
      for (size_t begin = 0; begin + length <= text.size(); ++begin) {
        const std::string part = text.substr(begin, length);
        if (!tokens.insert(spell(part)).second) continue;
        for (size_t split = 1; split < length; ++split)
          merges.push_back(spell(part.substr(0, split)) + " " + spell(part.substr(split)));
      }
    }
    const auto files =
        open({key_text("tokenizer.ggml.model", "gpt2"), key_text("tokenizer.ggml.pre", c.pre),
              key_texts("tokenizer.ggml.tokens", {tokens.begin(), tokens.end()}),
              key_texts("tokenizer.ggml.merges", merges)});
    ASSERT_TRUE(files.ok()) << files.status();
    ASSERT_TRUE(files->notes.empty()) << files->notes[0];
    const runtime::Tokenizer tokenizer = load(files);
    std::vector<std::string> words;
    const auto ids = tokenizer.encode(text, false);
    ASSERT_TRUE(ids.ok()) << ids.error().message;
    for (const int32_t id : *ids) words.push_back(*tokenizer.decode(Ids{id}, false));
    EXPECT_EQ(words, c.words);
  }
}

}  // namespace
}  // namespace sinter::frontends
