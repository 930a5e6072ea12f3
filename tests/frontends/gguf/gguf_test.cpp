// The GGUF container and the checkpoint over it.
#include "frontends/gguf/gguf.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "frontends/checkpoint.h"
#include "frontends/open/open_checkpoint.h"
#include "tests/frontends/gguf/writer.h"
#include "tests/frontends/model_folder.h"

namespace sinter::frontends {
namespace {

class GgufTest : public testing::Test {
 protected:
  GgufFile two_tensors() {
    GgufFile file;
    file.keys = {key_text("general.architecture", "llama")};
    file.tensors = {f32_entry("a", {3, 2}, {1, 2, 3, 4, 5, 6}), f32_entry("b", {2}, {7, 8})};
    return file;
  }
  absl::StatusOr<Gguf> open(const std::string& bytes) {
    return open_gguf(dir_.write("model.gguf", bytes));
  }
  absl::StatusOr<Gguf> open(const GgufFile& file) { return open(file.bytes()); }
  TempDir dir_;
};

TEST_F(GgufTest, ReadsTensorsWithTheFastestExtentLast) {
  for (const uint32_t version : {2, 3}) {
    GgufFile file = two_tensors();
    file.version = version;
    const auto gguf = open(file);
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    ASSERT_EQ(gguf->tensors.size(), 2);
    const GgufTensor& a = gguf->tensors.at("a");
    EXPECT_EQ(a.shape, (std::vector<int64_t>{2, 3}));
    EXPECT_EQ(a.type->name, "F32");
    EXPECT_EQ(a.file, "model.gguf");
    EXPECT_EQ(ir::read_element(ir::DType::f32, a.bytes.data(), 5), 6);
    EXPECT_EQ(ir::read_element(ir::DType::f32, gguf->tensors.at("b").bytes.data(), 1), 8);
  }
}

TEST_F(GgufTest, ReadsMetadataOfEveryType) {
  GgufFile file = two_tensors();
  file.keys = {{"u8", 0, le(uint8_t{200})},
               {"i8", 1, le(int8_t{-5})},
               {"u16", 2, le(uint16_t{60000})},
               {"i16", 3, le(int16_t{-6})},
               {"u32", 4, le(uint32_t{4000000000})},
               {"i32", 5, le(int32_t{-7})},
               {"f32", 6, le(1.5F)},
               {"bool", 7, le(uint8_t{1})},
               {"text", 8, gguf_string("x\n")},
               {"u64", 10, le(uint64_t{1} << 63)},
               {"i64", 11, le(int64_t{-8})},
               {"f64", 12, le(0.1)},
               {"array", 9, le(uint32_t{8}) + le(uint64_t{2}) + gguf_string("p") + gguf_string("")},
               {"nested", 9,
                le(uint32_t{9}) + le(uint64_t{1}) + le(uint32_t{0}) + le(uint64_t{2}) + "\x01\x02"},
               {"empty", 9, le(uint32_t{4}) + le(uint64_t{0})}};
  const auto gguf = open(file);
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  EXPECT_EQ(gguf->metadata, Json::parse(R"({"u8": 200, "i8": -5, "u16": 60000, "i16": -6,
      "u32": 4000000000, "i32": -7, "f32": 1.5, "bool": true, "text": "x\n",
      "u64": 9223372036854775808, "i64": -8, "f64": 0.1, "array": ["p", ""], "nested": [[1, 2]],
      "empty": []})"));
}

TEST_F(GgufTest, RefusesWhatIsNoGgufFile) {
  expect_error(open("GGU"), {"model.gguf: ends within the header (3 bytes)"});
  expect_error(open("PK\x03\x04 something else"), {"model.gguf: does not begin with \"GGUF\""});
  GgufFile file = two_tensors();
  file.version = 1;
  expect_error(open(file), {"version 1, supported are 2 and 3"});
  file.version = 3U << 24;
  expect_error(open(file), {"big-endian"});
  expect_error(open_gguf(dir_.path() / "no.gguf"), {"no.gguf: no such file"});
}

TEST_F(GgufTest, RefusesCountsAndLengthsBeyondTheFile) {
  const std::string huge = le(std::numeric_limits<uint64_t>::max());
  const std::string none = le(uint64_t{0});
  expect_error(open("GGUF" + le(uint32_t{3}) + huge + none), {"declares 18,446,744"});
  expect_error(open("GGUF" + le(uint32_t{3}) + none + huge), {"declares 0 tensors and 18,446"});
  GgufFile file = two_tensors();
  file.keys = {{"k", kGgufString, huge + "abc"}};
  expect_error(open(file), {"the value of metadata key \"k\" has the length 18,446"});
  file.keys = {{"k", kGgufArray, le(uint32_t{8}) + huge}};
  expect_error(open(file), {"metadata key \"k\" is an array of 18,446"});
  file.keys = {{"k", kGgufArray, le(uint32_t{13}) + le(uint64_t{1})}};
  expect_error(open(file), {"metadata key \"k\" is an array of the unknown value type 13"});
  file.keys = {{"k", 99, ""}};
  expect_error(open(file), {"metadata key \"k\" has the unknown value type 99"});
  file.keys = {{"k", kGgufBool, "\x02"}};
  expect_error(open(file), {"metadata key \"k\" is the boolean 2"});
  std::string nested;
  for (int i = 0; i < 10; ++i) nested += le(uint32_t{9}) + le(uint64_t{1});
  file.keys = {{"k", kGgufArray, nested}};
  expect_error(open(file), {"nested too deeply"});
  file.keys = {key_u32("k", 1), key_u32("k", 2)};
  expect_error(open(file), {"metadata key \"k\" occurs twice"});
}

TEST_F(GgufTest, EveryCutIsRefused) {
  const std::string good = two_tensors().bytes();
  for (size_t size = 1; size < good.size(); ++size) {
    ASSERT_FALSE(open(good.substr(0, size)).ok()) << size;
  }
  EXPECT_TRUE(open(good).ok());
}

TEST_F(GgufTest, RefusesBadTensors) {
  const auto with = [&](const GgufEntry& entry) {
    GgufFile file = two_tensors();
    file.tensors[1] = entry;
    return open(file);
  };
  expect_error(with({"t", {}, 0, ""}), {"tensor \"t\" has 0 dimensions"});
  expect_error(with({"t", {1, 1, 1, 1, 1}, 0, ""}), {"tensor \"t\" has 5 dimensions"});
  expect_error(with({"t", {4, 0}, 0, ""}), {"tensor \"t\" has the dimension 0"});
  expect_error(with({"t", {1ULL << 40, 1ULL << 40}, 0, ""}), {"which no file can hold"});
  expect_error(with({"t", {1ULL << 61}, 0, ""}), {"tensor \"t\" [2305843009213693952]"});
  expect_error(with({"t", {48}, 2, ""}),
               {"rows of 48 elements", "Q4_0 (18 bytes for 32 elements)"});
  expect_error(with({"t", {32}, 77, ""}), {"tensor \"t\" has the unknown type id 77"});
  expect_error(with({"t", {128}, 36, ""}),
               {"type id 36, I2_S (32 bytes for 128", "several layouts"});
  expect_error(with({"t", {64}, 142, ""}), {"rows of 64 elements", "PQ2_0 (34 bytes for 128"});
  expect_error(with({"t", {4}, 0, std::string(16, 'x'), 33}), {"offset 33", "alignment 32"});
  expect_error(with({"t", {4}, 0, std::string(16, 'x'), 0}), {"overlaps tensor"});
  expect_error(with({"t", {4}, 0, std::string(16, 'x'), 1 << 20}), {"needs 16 bytes from offset"});
  expect_error(with({"a", {4}, 0, std::string(16, 'x')}), {"tensor \"a\" is also in model.gguf"});
}

TEST_F(GgufTest, BlocksOfAnotherSizeUnderAKnownIdAreSeen) {
  // PQ2_0 under the id of Q2_0: 34 * 64 bytes where 36 * 64 are expected.
  GgufFile file;
  file.tensors = {{"t", {128, 64}, 42, std::string(34 * 64, '\0')},
                  f32_entry("b", {64}, std::vector<float>(64))};
  for (int tensors = 2; tensors > 0; --tensors) {
    const auto gguf = open(file);
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    EXPECT_EQ(gguf->tensors.at("t").type->name, "PQ2_0");
    EXPECT_EQ(gguf->tensors.at("t").bytes.size(), 34U * 64);
    file.tensors.pop_back();
  }
  // Blocks that are smaller still.
  file.tensors = {{"t", {128, 64}, 42, std::string(32 * 64, '\0')},
                  f32_entry("b", {64}, std::vector<float>(64))};
  expect_error(open(file), {"tensor \"b\"", "overlaps tensor \"t\""});
  file.tensors.pop_back();
  expect_error(open(file),
               {"tensor \"t\" [64, 128] of type PQ2_0 (34 bytes for 128 elements) needs "
                "2,176 bytes",
                "means another type by this id"});
  // And larger ones.
  file.tensors = {{"t", {128, 64}, 42, std::string(40 * 64, '\0')}, f32_entry("b", {2}, {7, 8})};
  expect_error(open(file), {"tensor \"t\" of type Q2_0", "needs 2,304 bytes, but 2,560 lie"});
  file.tensors.pop_back();
  expect_error(open(file), {"256 bytes after the last tensor \"t\""});
}

TEST_F(GgufTest, BytesMayFollowATensorOfASureType) {
  GgufFile file;
  file.tensors = {f32_entry("t", {2}, {1, 2})};
  for (const std::string& rest : {std::string(4096, '\0'), std::string(100, 'x')}) {
    const auto gguf = open_gguf(dir_.write("m.gguf", file.bytes() + rest));
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    EXPECT_EQ(gguf->tensors.at("t").bytes.size(), 8U);
  }
  // The first tensor of the type ends where the second begins.
  file.tensors = {{"a", {128, 64}, 42, std::string(36 * 64, '\0')},
                  {"b", {128, 64}, 42, std::string(36 * 64, '\0')}};
  EXPECT_TRUE(open_gguf(dir_.write("m.gguf", file.bytes() + std::string(4096, '\0'))).ok());
}

TEST_F(GgufTest, TheAlignmentIsAKey) {
  GgufFile file = two_tensors();
  file.alignment = 128;
  file.keys = {key_u32("general.alignment", 128)};
  EXPECT_TRUE(open(file).ok());
  for (const uint32_t bad : {0, 1, 48, 1 << 30}) {
    file.keys = {key_u32("general.alignment", bad)};
    expect_error(open(file), {"\"general.alignment\" is " + std::to_string(bad)});
  }
}

class SplitGgufTest : public GgufTest {
 protected:
  void write_part(uint32_t number, uint32_t count, const std::vector<GgufEntry>& tensors,
                  const std::string& name) {
    GgufFile file;
    if (number == 0) file.keys.push_back(key_text("general.architecture", "llama"));
    file.keys.push_back({"split.no", 2, le(static_cast<uint16_t>(number))});
    file.keys.push_back({"split.count", 2, le(static_cast<uint16_t>(count))});
    file.keys.push_back({"split.tensors.count", 5, le(int32_t{2})});
    file.tensors = tensors;
    dir_.write(name, file.bytes());
  }
  void write_all() {
    write_part(0, 3, {}, "m-00001-of-00003.gguf");
    write_part(1, 3, {f32_entry("a", {2}, {1, 2})}, "m-00002-of-00003.gguf");
    write_part(2, 3, {f32_entry("b", {2}, {3, 4})}, "m-00003-of-00003.gguf");
  }
};

TEST_F(SplitGgufTest, AnyPartStandsForAll) {
  write_all();
  for (const char* name : {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"}) {
    const auto gguf = open_gguf(dir_.path() / name);
    ASSERT_TRUE(gguf.ok()) << gguf.status();
    EXPECT_EQ(gguf->tensors.size(), 2);
    EXPECT_EQ(gguf->tensors.at("b").file, "m-00003-of-00003.gguf");
    EXPECT_EQ(gguf->metadata["general.architecture"], "llama");
    EXPECT_EQ(gguf->files.size(), 3);
  }
}

TEST_F(SplitGgufTest, TheExtensionMayBeInCapitals) {
  write_part(0, 2, {f32_entry("a", {2}, {1, 2})}, "m-00001-of-00002.GGUF");
  write_part(1, 2, {f32_entry("b", {2}, {3, 4})}, "m-00002-of-00002.GGUF");
  const auto gguf = open_gguf(dir_.path() / "m-00001-of-00002.GGUF");
  ASSERT_TRUE(gguf.ok()) << gguf.status();
  EXPECT_EQ(gguf->tensors.size(), 2U);
}

TEST_F(SplitGgufTest, MissingAndMisnamedPartsAreNamed) {
  write_all();
  std::filesystem::remove(dir_.path() / "m-00002-of-00003.gguf");
  const auto first = dir_.path() / "m-00001-of-00003.gguf";
  expect_error(open_gguf(first), {"m-00002-of-00003.gguf: part 2 of 3 is missing"});
  write_part(2, 3, {f32_entry("a", {2}, {1, 2})}, "m-00002-of-00003.gguf");
  expect_error(open_gguf(first), {"m-00002-of-00003.gguf: is part 3 of 3 by its metadata"});
  write_part(1, 3, {f32_entry("b", {2}, {1, 2})}, "m-00002-of-00003.gguf");
  expect_error(open_gguf(first), {"tensor \"b\" is also in m-00002-of-00003.gguf"});
  write_part(1, 3, {}, "m-00002-of-00003.gguf");
  expect_error(open_gguf(first), {"\"split.tensors.count\" is 2, but the parts hold 1 tensors"});
  write_part(0, 3, {}, "renamed.gguf");
  expect_error(open_gguf(dir_.path() / "renamed.gguf"), {"renamed.gguf: is part 1 of 3"});
}

// A llama of one layer whose numbers do not matter.
GgufFile tiny_llama() {
  GgufFile file;
  file.keys = {key_text("general.architecture", "llama"),
               key_u32("llama.block_count", 1),
               key_u32("llama.context_length", 64),
               key_u32("llama.embedding_length", 32),
               key_u32("llama.feed_forward_length", 32),
               key_u32("llama.attention.head_count", 4),
               key_u32("llama.attention.head_count_kv", 2),
               key_f32("llama.attention.layer_norm_rms_epsilon", 0.5F),
               key_u32("tokenizer.ggml.eos_token_id", 3),
               key_u32("tokenizer.ggml.eot_token_id", 4),
               key_u32("tokenizer.ggml.bos_token_id", 1),
               key_text("tokenizer.chat_template", "T")};
  std::vector<float> rows;
  for (int r = 0; r < 32; ++r) rows.insert(rows.end(), 32, static_cast<float>(r));
  file.tensors = {f32_entry("token_embd.weight", {32, 5}, std::vector<float>(160)),
                  f32_entry("blk.0.attn_q.weight", {32, 32}, rows),
                  f32_entry("blk.0.attn_q.bias", {32}, std::vector<float>(32)),
                  f32_entry("blk.0.attn_v.weight", {32, 32}, rows),
                  {"blk.0.ffn_up.weight", {32, 2}, 2, std::string(36, '\0')},
                  {"blk.0.ffn_down.weight", {256}, 16, std::string(66, '\0')}};
  return file;
}

class GgufCheckpointTest : public GgufTest {
 protected:
  absl::StatusOr<std::unique_ptr<Checkpoint>> open_model(const GgufFile& file) {
    return open_checkpoint(dir_.write("model.gguf", file.bytes()));
  }
  // With one key replaced or added.
  absl::StatusOr<std::unique_ptr<Checkpoint>> open_with(const GgufKey& key) {
    GgufFile file = tiny_llama();
    std::erase_if(file.keys, [&](const GgufKey& other) { return other.name == key.name; });
    file.keys.push_back(key);
    return open_model(file);
  }
};

TEST_F(GgufCheckpointTest, MetadataBecomesAConfiguration) {
  const auto checkpoint = open_model(tiny_llama());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->config,
            Json::parse(R"({"model_type": "llama", "hidden_act": "silu", "num_hidden_layers": 1,
      "max_position_embeddings": 64, "hidden_size": 32, "intermediate_size": 32,
      "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 0.5, "head_dim": 8,
      "vocab_size": 5, "rope_theta": 10000.0, "tie_word_embeddings": true, "attention_bias": true, "mlp_bias": false})"));
  EXPECT_EQ((*checkpoint)->generation_config,
            Json::parse(R"({"eos_token_id": [3, 4], "bos_token_id": 1})"));
  EXPECT_EQ((*checkpoint)->chat_template, "T");
  EXPECT_EQ((*checkpoint)->config_names["rms_norm_eps"], "llama.attention.layer_norm_rms_epsilon");
  expect_error((*checkpoint)->matrix("model.norm"), {"\"output_norm.weight\" is missing"});
  expect_error((*checkpoint)->matrix("model.layers.0.self_attn.k_proj"),
               {"\"blk.0.attn_k.weight\" is missing", "\"blk.0.attn_q.weight\""});
  expect_error((*checkpoint)->check_all_used({}), {"\"blk.0.attn_q.bias\""});
  EXPECT_EQ((*checkpoint)->generation_names["eos_token_id.1"], "tokenizer.ggml.eot_token_id");
}

TEST_F(GgufCheckpointTest, BitNetHasSubNorms) {
  GgufFile file = tiny_llama();
  for (GgufKey& key : file.keys) {
    if (key.name.starts_with("llama.")) key.name.replace(0, 5, "bitnet");
  }
  file.keys[0] = key_text("general.architecture", "bitnet");
  file.tensors.push_back(f32_entry("blk.0.attn_sub_norm.weight", {32}, std::vector<float>(32)));
  file.tensors.push_back(f32_entry("blk.0.ffn_sub_norm.weight", {32}, std::vector<float>(32)));
  const auto checkpoint = open_model(file);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->config["hidden_act"], "silu");
  EXPECT_TRUE((*checkpoint)->has("model.layers.0.self_attn.attn_sub_norm"));
  EXPECT_TRUE((*checkpoint)->has("model.layers.0.mlp.ffn_sub_norm"));
  EXPECT_TRUE((*checkpoint)->matrix("model.layers.0.self_attn.q_proj")->places.in_order());
}

TEST_F(GgufCheckpointTest, ExpertsAreStackedMatrices) {
  GgufFile file = tiny_llama();
  file.tensors.push_back({"blk.0.ffn_up_exps.weight", {32, 2, 3}, 2, std::string(108, '\0')});
  const auto checkpoint = open_model(file);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->matrix("model.layers.0.mlp.experts.up_proj")->type.shape,
            (std::vector<int64_t>{3, 2, 32}));
}

TEST_F(GgufCheckpointTest, RowsOfQueriesHaveTheOrderOfRopeOnHalves) {
  const auto checkpoint = open_model(tiny_llama());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const auto q = (*checkpoint)->matrix("model.layers.0.self_attn.q_proj");
  const auto v = (*checkpoint)->matrix("model.layers.0.self_attn.v_proj");
  ASSERT_TRUE(q.ok()) << q.status();
  ASSERT_TRUE(v.ok()) << v.status();
  std::vector<float> row(32);
  const float in_head[] = {0, 2, 4, 6, 1, 3, 5, 7};
  for (int r = 0; r < 32; ++r) {
    ir::decode_row(*q, r, row.data());
    EXPECT_EQ(row[0], static_cast<float>(r / 8 * 8) + in_head[r % 8]) << r;
    ir::decode_row(*v, r, row.data());
    EXPECT_EQ(row[0], static_cast<float>(r)) << r;
  }
}

TEST_F(GgufCheckpointTest, TypesWithoutAFormatAreRefusedWhereTheyAreUsed) {
  const auto checkpoint = open_model(tiny_llama());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  expect_error((*checkpoint)->matrix("model.layers.0.mlp.down_proj"),
               {"model.gguf: tensor \"blk.0.ffn_down.weight\" is IQ2_XXS [256]",
                "66 bytes for 256 elements", "supported are F32, F16, BF16, Q4_0"});
}

TEST_F(GgufCheckpointTest, ScalesThatAreNotFiniteAreRefused) {
  GgufFile file = tiny_llama();
  file.tensors[4].bytes[18 + 1] = 0x7C;
  expect_error(open_model(file), {"model.gguf: tensor \"blk.0.ffn_up.weight\" is Q4_0 [2, 32]",
                                  "block 1 is infinite or NaN"});
}

TEST_F(GgufCheckpointTest, RopeScalingIsRead) {
  GgufFile file = tiny_llama();
  file.keys.push_back(key_text("llama.rope.scaling.type", "yarn"));
  file.keys.push_back(key_f32("llama.rope.scaling.factor", 4));
  file.keys.push_back(key_f32("llama.rope.scaling.attn_factor", 0.5F));
  file.keys.push_back(key_u32("llama.rope.scaling.original_context_length", 16));
  file.tensors.push_back(f32_entry("rope_freqs.weight", {4}, {1, 2, 3, 4}));
  const auto checkpoint = open_model(file);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  const Json& scaling = (*checkpoint)->config["rope_scaling"];
  EXPECT_EQ(scaling["rope_type"], "yarn");
  EXPECT_EQ(scaling["factor"], 4);
  EXPECT_EQ(scaling["original_max_position_embeddings"], 16);
  EXPECT_NEAR(scaling["attention_factor"].get<double>(), 0.5 * (0.1 * std::log(4.0) + 1), 1e-12);
  EXPECT_EQ(scaling["frequency_factors"], Json::parse("[1, 2, 3, 4]"));
  EXPECT_FALSE((*checkpoint)->has("rope_freqs.weight"));

  file.tensors.back() = f32_entry("rope_freqs.weight", {3}, {1, 2, 3});
  expect_error(open_model(file), {"tensor \"rope_freqs.weight\" is F32 [3], expected F32 [4]"});
  file.tensors.back() = f32_entry("rope_freqs.weight", {4}, {1, 2, NAN, 3});
  expect_error(open_model(file), {"tensor \"rope_freqs.weight\" has the element nan"});

  const auto linear = open_with(key_f32("llama.rope.scale_linear", 2));
  ASSERT_TRUE(linear.ok()) << linear.status();
  EXPECT_EQ((*linear)->config["rope_scaling"],
            Json::parse(R"({"rope_type": "linear", "factor": 2})"));
  expect_error(open_with(key_text("llama.rope.scaling.type", "longrope")),
               {"model.gguf: \"llama.rope.scaling.type\" is \"longrope\", expected none, linear"});
}

TEST_F(GgufCheckpointTest, WhatIsNotUnderstoodIsRefused) {
  expect_error(open_with(key_text("general.architecture", "mamba")),
               {"\"general.architecture\" is \"mamba\"", "known: llama, qwen2, qwen3, bitnet"});
  // What is no text model is said to be what it is.
  for (const auto& [name, what] : {std::pair("dflash", "a draft model"),
                                   {"dspark", "a draft model"},
                                   {"eagle3", "a draft model"},
                                   {"clip", "the part of a multimodal model that sees or hears"},
                                   {"nomic-bert-moe", "an encoder"}})
    expect_error(open_with(key_text("general.architecture", name)),
                 {fmt::format("\"general.architecture\" is \"{}\": {}", name, what)});
  expect_error(open_with(key_text("general.type", "adapter")), {"\"general.type\" is \"adapter\""});
  expect_error(open_with(key_u32("prism.hadamard.size", 1024)),
               {"\"prism.hadamard.size\" is not known"});
  expect_error(open_with(key_u32("prism.hadamard.block_size", 1024)),
               {"\"prism.hadamard.version\" is missing"});
  expect_error(open_with(key_f32("llama.logit_scale", 2)), {"\"llama.logit_scale\" is 2"});
  expect_error(open_with(key_u32("llama.expert_group_count", 8)),
               {"\"llama.expert_group_count\" is 8"});
  expect_error(open_with(key_u32("llama.rope.dimension_count", 4)),
               {"\"llama.rope.dimension_count\" is 4, expected 8"});
  expect_error(open_with(key_text("llama.block_count", "x")), {"\"llama.block_count\" is \"x\""});
  expect_error(open_with(key_u32("llama.block_count", 0)), {"\"llama.block_count\" is 0"});
  expect_error(open_with(key_u32("llama.block_count", 2000000000)), {"is 2000000000"});
  expect_error(open_with(key_u32("llama.attention.head_count_kv", 3)),
               {"\"llama.attention.head_count_kv\" is 3, expected a divisor of "
                "\"llama.attention.head_count\", which is 4"});
  expect_error(open_with(key_u32("llama.attention.value_length", 3)),
               {"\"llama.attention.value_length\" is 3, expected 8, which is "
                "\"llama.embedding_length\" / \"llama.attention.head_count\""});
  const auto arrays = [](std::vector<uint32_t> values) {
    return GgufKey{"llama.feed_forward_length", kGgufArray,
                   le(kGgufUint32) + le(uint64_t{values.size()}) + bytes_of(values)};
  };
  EXPECT_TRUE(open_with(arrays({32, 32})).ok());
  expect_error(open_with(arrays({32, 64})), {"\"llama.feed_forward_length\" is an array"});
  GgufFile file = tiny_llama();
  std::erase_if(file.keys, [](const GgufKey& k) { return k.name == "llama.embedding_length"; });
  expect_error(open_model(file), {"model.gguf: \"llama.embedding_length\" is missing"});
  file = tiny_llama();
  file.tensors.push_back(f32_entry("model.embed_tokens", {2}, {1, 2}));
  expect_error(open_model(file), {"belong to the same module"});
}

// Gated delta nets: what their keys say of one another.
TEST_F(GgufCheckpointTest, KeysOfHybridsAgree) {
  GgufFile file = tiny_llama();
  for (GgufKey& key : file.keys)
    if (key.name.starts_with("llama.")) key.name = "qwen35." + key.name.substr(6);
  std::erase_if(file.keys, [](const GgufKey& key) {
    return key.name == "general.architecture" || key.name == "qwen35.block_count";
  });
  const std::vector<GgufKey> keys = {
      key_text("general.architecture", "qwen35"), key_u32("qwen35.block_count", 3),
      key_u32("qwen35.attention.key_length", 8),  key_u32("qwen35.attention.value_length", 8),
      key_u32("qwen35.ssm.conv_kernel", 4),       key_u32("qwen35.ssm.state_size", 8),
      key_u32("qwen35.ssm.group_count", 2),       key_u32("qwen35.ssm.time_step_rank", 4),
      key_u32("qwen35.ssm.inner_size", 32)};
  file.keys.insert(file.keys.end(), keys.begin(), keys.end());
  const auto with = [&](const GgufKey& key) {
    GgufFile changed = file;
    std::erase_if(changed.keys, [&](const GgufKey& other) { return other.name == key.name; });
    changed.keys.push_back(key);
    return open_model(changed);
  };
  expect_error(with(key_u32("qwen35.ssm.inner_size", 30)),
               {"\"qwen35.ssm.inner_size\" is 30", "a multiple of \"qwen35.ssm.time_step_rank\""});
  expect_error(with(key_numbers<int32_t>("qwen35.rope.dimension_sections", 5, {11, 11, 10})),
               {"\"qwen35.rope.dimension_sections\" is", "expected a list of 4 integers"});
  expect_error(with(key_numbers<int32_t>("qwen35.rope.dimension_sections", 5, {11, 11, 10, -1})),
               {"\"qwen35.rope.dimension_sections\" is", "that are not negative"});
  expect_error(with(key_u32("qwen35.nextn_predict_layers", 3)),
               {"\"qwen35.nextn_predict_layers\" is 3", "an integer below \"qwen35.block_count\""});
  expect_error(with(key_u32("qwen35.nextn_predict_layers", 1)),
               {"\"qwen35.nextn_predict_layers\" is 1 and counts layer 2, but tensor "
                "\"blk.2.nextn.eh_proj.weight\" is missing"});
}

TEST_F(GgufCheckpointTest, KeysThatChangeNothingAreAccepted) {
  const auto plain = open_model(tiny_llama());
  ASSERT_TRUE(plain.ok()) << plain.status();
  for (const GgufKey& key :
       {key_bool("llama.attention.causal", true), key_f32("llama.logit_scale", 1),
        key_f32("llama.logit_scale", 0), key_f32("llama.residual_scale", 1),
        key_u32("llama.pooling_type", 0), key_bool("llama.use_parallel_residual", false),
        key_u32("llama.expert_count", 0), key_f32("llama.final_logit_softcapping", 0),
        key_f32("llama.attention.scale", 0.35355338F), key_f32("llama.attention.scale", 0),
        key_f32("llama.rope.scaling.yarn_log_multiplier", 0), key_u32("llama.vocab_size", 4),
        key_f32("llama.attention.layer_norm_epsilon", 1e-5F),
        key_f32("llama.rope.scaling.yarn_ext_factor", -1),
        key_f32("llama.rope.scaling.yarn_ext_factor", 0),
        key_u32("llama.attention.sliding_window_pattern", 6),
        key_text("general.invented.key", "anything"), key_u32("general.file_type", 7)}) {
    const auto checkpoint = open_with(key);
    ASSERT_TRUE(checkpoint.ok()) << key.name << ": " << checkpoint.status();
    EXPECT_EQ((*checkpoint)->config, (*plain)->config) << key.name;
  }
  for (const GgufKey& key :
       {key_bool("llama.attention.causal", false), key_f32("llama.logit_scale", 0.5F),
        key_u32("llama.pooling_type", 1), key_bool("llama.use_parallel_residual", true),
        key_f32("llama.final_logit_softcapping", 30), key_f32("llama.attention.scale", 0.25F),
        key_f32("llama.rope.scaling.yarn_ext_factor", 1),
        key_f32("llama.rope.scaling.yarn_log_multiplier", 0.1F), key_u32("llama.invented", 0)}) {
    expect_error(open_with(key), {"model.gguf: ", "\"" + key.name + "\" is "});
  }
}

TEST_F(GgufCheckpointTest, AWindowThatIsNotAppliedIsNamed) {
  const auto notes_with = [&](uint32_t window) {
    const auto checkpoint = open_with(key_u32("llama.attention.sliding_window", window));
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.status();
    return checkpoint.ok() ? (*checkpoint)->notes : std::vector<std::string>();
  };
  const size_t usual = notes_with(0).size();
  EXPECT_EQ(notes_with(64).size(), usual);  // the whole context
  const auto notes = notes_with(63);
  ASSERT_EQ(notes.size(), usual + 1);
  EXPECT_NE(notes[0].find("model.gguf: \"llama.attention.sliding_window\" is 63"),
            std::string::npos)
      << notes[0];
}

TEST_F(GgufCheckpointTest, BiasesThatAreNotThereAreZeros) {
  GgufFile file = tiny_llama();
  std::vector<float> rows(1024);
  for (const char* name : {"blk.0.attn_k.weight", "blk.0.attn_output.weight"})
    file.tensors.push_back(f32_entry(name, {32, 32}, rows));
  std::vector<float> values(32);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  file.tensors.push_back(f32_entry("blk.0.attn_v.bias", {32}, values));
  const auto checkpoint = open_model(file);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->config["attention_bias"], true);
  EXPECT_EQ((*checkpoint)->config["mlp_bias"], false);
  EXPECT_EQ(numbers_of(**checkpoint, "model.layers.0.self_attn.v_proj.bias"), values);
  for (const char* name : {"k_proj", "o_proj"})
    EXPECT_EQ(numbers_of(**checkpoint, fmt::format("model.layers.0.self_attn.{}.bias", name)),
              std::vector<float>(32));
  EXPECT_FALSE((*checkpoint)->has("model.layers.0.mlp.up_proj.bias"));
}

// A block of NVFP4: four scales of 1 (E4M3 0x38) and codes that count up.
std::string nvfp4_block() {
  std::string block(4, '\x38');
  for (int i = 0; i < 32; ++i) block += static_cast<char>(i * 7);
  return block;
}

TEST_F(GgufCheckpointTest, NvFp4HasAScaleOfTheWholeMatrix) {
  const auto with = [&](std::vector<GgufEntry> more) {
    GgufFile file = tiny_llama();
    file.tensors.push_back({"blk.0.ffn_gate.weight", {64, 2}, 40, nvfp4_block() + nvfp4_block()});
    for (GgufEntry& entry : more) file.tensors.push_back(std::move(entry));
    return open_model(file);
  };
  constexpr const char* kGate = "model.layers.0.mlp.gate_proj";
  const auto plain = with({});
  ASSERT_TRUE(plain.ok()) << plain.status();
  const std::vector<float> numbers = numbers_of(**plain, kGate);
  const auto scaled = with({f32_entry("blk.0.ffn_gate.scale", {1}, {0.25F}),
                            f32_entry("blk.0.ffn_gate.input_scale", {1}, {3})});
  ASSERT_TRUE(scaled.ok()) << scaled.status();
  std::vector<float> expected = numbers;
  for (float& number : expected) number *= 0.25F;
  EXPECT_EQ(numbers_of(**scaled, kGate), expected);
  EXPECT_EQ(ir::to_string((*scaled)->matrix(kGate)->type.format), "fp4 g16 e4m3 tensor");
  EXPECT_FALSE((*scaled)->has("blk.0.ffn_gate.scale"));
  EXPECT_FALSE((*scaled)->has("blk.0.ffn_gate.input_scale"));
  const auto one = with({f32_entry("blk.0.ffn_gate.scale", {1}, {1})});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(ir::to_string((*one)->matrix(kGate)->type.format), "fp4 g16 e4m3");
  for (const float bad : {0.0F, NAN, INFINITY})
    expect_error(with({f32_entry("blk.0.ffn_gate.scale", {1}, {bad})}),
                 {"\"blk.0.ffn_gate.scale\" is", "finite and not 0"});
  expect_error(with({f32_entry("blk.0.ffn_gate.scale", {2}, {1, 1})}), {"expected F32 [1]"});
  expect_error(with({f32_entry("blk.0.attn_q.scale", {1}, {2})}),
               {"\"blk.0.attn_q.scale\"", "\"blk.0.attn_q.weight\" is f32"});
  expect_error(with({f32_entry("blk.0.none.scale", {1}, {2})}),
               {"\"blk.0.none.scale\"", "tensor \"blk.0.none.weight\" is missing"});
}

TEST_F(GgufCheckpointTest, AFileIsKnownByItsFirstBytes) {
  for (const char* name : {"sha256-0123abcd", "model.GGUF", "model", "model.bin"}) {
    const TempDir folder;
    const auto path = folder.write(name, tiny_llama().bytes());
    const auto checkpoint = open_checkpoint(path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ((*checkpoint)->path, path);
    const auto by_folder = open_checkpoint(folder.path());
    ASSERT_TRUE(by_folder.ok()) << by_folder.status();
    EXPECT_EQ((*by_folder)->path, path);
  }
}

TEST_F(GgufCheckpointTest, ProjectorsAndImportanceMatricesAreNoModels) {
  ASSERT_TRUE(open_model(tiny_llama()).ok());
  dir_.write("mmproj-model-f16.gguf", GgufFile().bytes());
  dir_.write("model.imatrix.gguf", GgufFile().bytes());
  const auto checkpoint = open_checkpoint(dir_.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
  EXPECT_EQ((*checkpoint)->path, dir_.path() / "model.gguf");
}

TEST_F(GgufCheckpointTest, AFolderMayHoldOneModel) {
  ASSERT_TRUE(open_model(tiny_llama()).ok());
  const auto folder = open_checkpoint(dir_.path());
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_EQ((*folder)->path, dir_.path() / "model.gguf");
  dir_.write("other.gguf", "x");
  expect_error(open_checkpoint(dir_.path()), {"holds 2 GGUF files; name one of them"});
  expect_error(open_checkpoint(dir_.path() / "gone.gguf"), {"gone.gguf: no such file"});
}

}  // namespace
}  // namespace sinter::frontends
