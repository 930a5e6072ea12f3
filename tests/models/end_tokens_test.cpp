// Tokens that end a text, of checkpoints that are nothing but their text files.
#include "models/end_tokens.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "models/generation.h"

namespace sinter::models {
namespace {

using nlohmann::json;

// A byte-level tokenizer with the added tokens from id 1 on.
std::string tokenizer_json(const std::vector<std::pair<std::string, bool>>& added) {
  json tokens = json::array();
  for (size_t i = 0; i < added.size(); ++i)
    tokens.push_back({{"id", i + 1}, {"content", added[i].first}, {"special", added[i].second}});
  return json{{"added_tokens", tokens},
              {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
              {"decoder", {{"type", "ByteLevel"}}},
              {"model", {{"type", "BPE"}, {"vocab", {{"a", 0}}}, {"merges", json::array()}}}}
      .dump();
}

// "id text, source" of every end; the error when there is one.
std::vector<std::string> ends_of(const json& generation, const json& fields,
                                 const frontends::Checkpoint* checkpoint,
                                 const FieldNames& names = {}) {
  const std::vector<Config> configs = {Config(generation, "generation_config.json", names),
                                       Config(fields)};
  const auto ends = find_end_tokens(configs, checkpoint, 20);
  if (!ends.ok()) return {std::string(ends.status().message())};
  std::vector<std::string> lines;
  for (const EndToken& end : *ends)
    lines.push_back(fmt::format("{} {}, {}", end.id, end.text, end.source));
  return lines;
}

using Lines = std::vector<std::string>;

TEST(EndTokens, AreThoseOfAllFiles) {
  frontends::Checkpoint checkpoint;
  checkpoint.tokenizer_json = tokenizer_json({{"<end>", true}, {"<stop>", true}, {"<x>", true}});
  checkpoint.tokenizer_config_json = R"({"eos_token": {"content": "<stop>"}})";
  EXPECT_EQ(
      ends_of({{"eos_token_id", {1, 9}}}, {{"eos_token_id", 3}}, &checkpoint),
      (Lines{"1 <end>, eos_token_id.0 of generation_config.json",
             "9 , eos_token_id.1 of generation_config.json", "3 <x>, eos_token_id of config.json",
             "2 <stop>, eos_token of tokenizer_config.json"}));
  EXPECT_EQ(ends_of(json::object(), {{"eos_token_id", {2, 2}}}, &checkpoint),
            (Lines{"2 <stop>, eos_token_id.0 of config.json"}));
  EXPECT_EQ(ends_of(json::object(), {{"eos_token_id", nullptr}}, nullptr), Lines());
}

TEST(EndTokens, KnownTextsEndATurnWhereTheyAreControlTokens) {
  frontends::Checkpoint checkpoint;
  checkpoint.tokenizer_json =
      tokenizer_json({{"<|eot_id|>", true}, {"<|im_end|>", false}, {"<end_of_turn>", true}});
  EXPECT_EQ(ends_of(json::object(), json::object(), &checkpoint),
            (Lines{"1 <|eot_id|>, the text of a control token",
                   "3 <end_of_turn>, the text of a control token"}));
}

TEST(EndTokens, InHarmonyTheEndOfAMessageIsNotThatOfTheText) {
  frontends::Checkpoint checkpoint;
  checkpoint.tokenizer_json = tokenizer_json({{"<|end|>", true}, {"<|return|>", true}});
  EXPECT_EQ(ends_of(json::object(), json::object(), &checkpoint).size(), 2);
  checkpoint.tokenizer_json =
      tokenizer_json({{"<|end|>", true}, {"<|return|>", true}, {"<|call|>", true}});
  EXPECT_EQ(ends_of(json::object(), json::object(), &checkpoint),
            (Lines{"2 <|return|>, the text of a control token",
                   "3 <|call|>, the text of a control token"}));
  // Unless a file says so.
  EXPECT_EQ(ends_of({{"eos_token_id", 1}}, json::object(), &checkpoint).size(), 3);
}

TEST(EndTokens, AreNamedAsTheFileDoes) {
  EXPECT_EQ(ends_of({{"eos_token_id", {4, 5}}}, json::object(), nullptr,
                    {{"eos_token_id.1", "tokenizer.ggml.eot_token_id"}}),
            (Lines{"4 , eos_token_id.0 of generation_config.json",
                   "5 , tokenizer.ggml.eot_token_id of generation_config.json"}));
}

TEST(EndTokens, MustBeIntegers) {
  for (const json& bad : {json("4"), json(4.0), json{{4}}, json::object(), json(true)})
    EXPECT_NE(
        ends_of({{"eos_token_id", bad}}, json::object(), nullptr)[0].find("expected a token id"),
        std::string::npos)
        << bad;
}

TEST(Generation, FieldsThatAreNotAppliedAreNamed) {
  const json fields = {{"do_sample", true},
                       {"temperature", 0.5},
                       {"top_k", 20},
                       {"top_p", 0.9},
                       {"repetition_penalty", 1.1},
                       {"min_p", 0.05},
                       {"typical_p", 1.0},
                       {"suppress_tokens", json::array()},
                       {"max_new_tokens", 100},
                       {"eos_token_id", 2}};
  const Config config(fields, "generation_config.json");
  const Generation generation = read_generation(config);
  EXPECT_EQ(generation.temperature, 0.5);
  EXPECT_EQ(generation.top_k, 20);
  EXPECT_EQ(generation.top_p, 0.9);
  EXPECT_EQ(config.notes(), (Lines{"generation_config.json: fields that are not applied: \"min_p\" "
                                   "(0.05), \"repetition_penalty\" (1.1)"}));
}

TEST(Generation, WithoutSamplingTheLikeliestTokenIsTaken) {
  const json fields = {{"do_sample", false}, {"temperature", 0.5}, {"top_k", 20}, {"min_p", 0.1}};
  const Config config(fields, "generation_config.json");
  const Generation generation = read_generation(config);
  EXPECT_EQ(generation.temperature, -1);
  EXPECT_EQ(generation.top_k, -1);
  EXPECT_TRUE(config.notes().empty());
}

TEST(Generation, ValuesThatCannotBeAreANote) {
  const json fields = {{"temperature", "0.7"}, {"top_k", -3}, {"top_p", 1.5}};
  const Config config(fields, "generation_config.json");
  const Generation generation = read_generation(config);
  EXPECT_EQ(generation.temperature, 0.7);
  EXPECT_EQ(generation.top_k, -1);
  EXPECT_EQ(generation.top_p, -1);
  EXPECT_EQ(config.notes().size(), 3);
  EXPECT_EQ(config.notes()[1],
            "generation_config.json: \"top_p\" is 1.5, expected a number from 0 to 1; it is not "
            "applied");
}

}  // namespace
}  // namespace sinter::models
