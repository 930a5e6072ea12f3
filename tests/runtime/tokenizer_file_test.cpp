// Files of tokenizers that are damaged or hostile: one line each, which names the field.
#include "tests/runtime/tokenizer_test.h"

namespace sinter::runtime {
namespace {

TEST(HostileFile, BrokenJsonIsReportedWithItsPosition) {
  EXPECT_EQ(load_error("{\"version\": }"),
            "tokenizer.json: broken JSON at byte 13 of 13; download the file again");
  EXPECT_CONTAINS(load_error(""), "broken JSON at byte");
  EXPECT_CONTAINS(load_error("{\"a\": \"\xFF\"}"), "broken JSON at byte 8");
  EXPECT_CONTAINS(load_error("[1e999]"), "tokenizer.json: a number before byte 6 is out of range");
  const std::string text = golden("tok_qwen", "tokenizer.json");
  EXPECT_CONTAINS(load_error(text.substr(0, text.size() / 2)), "broken JSON at byte");
}

TEST(HostileFile, DeepNestingIsAnErrorAndNotACrash) {
  EXPECT_EQ(load_error(std::string(2000000, '[')),
            "tokenizer.json: nests more than 64 levels deep");
  EXPECT_EQ(load_error(letter_tokenizer().dump(), std::string(2000000, '[')),
            "tokenizer_config.json: nests more than 64 levels deep");
  Json nested = {{"type", "NFC"}};
  for (int i = 0; i < 20; ++i) nested = {{"type", "Sequence"}, {"normalizers", {nested}}};
  Json json = letter_tokenizer();
  json["normalizer"] = nested;
  EXPECT_CONTAINS(json_error(json), "nests Sequences too deeply");
}

TEST(HostileFile, BadIdsAreErrorsThatNameTheField) {
  const Json good = letter_tokenizer();
  const auto with_id = [&](const Json& id) {
    Json json = good;
    json["model"]["vocab"]["zz"] = id;
    return json_error(json);
  };
  EXPECT_EQ(with_id('a'), "tokenizer.json: model.vocab gives id 97 to both 'a' and 'zz'");
  EXPECT_CONTAINS(with_id(-1), "tokenizer.json: model.vocab gives token 'zz' the id -1");
  EXPECT_CONTAINS(with_id(4294967296), "gives token 'zz' the id 4294967296");
  EXPECT_CONTAINS(with_id(18446744073709551615u), "gives token 'zz' the id 18446744073709551615");
  EXPECT_CONTAINS(with_id(1.5), "gives token 'zz' the id 1.5");
  EXPECT_CONTAINS(with_id("1"), "gives token 'zz' the id string");
  EXPECT_CONTAINS(with_id(2000000000), "tokenizer.json: model.vocab has 96 tokens but ids up to");
  EXPECT_CONTAINS(with_id(Json::array()), "gives token 'zz' the id array");
  EXPECT_EQ(load_error(R"({"model": {"vocab": {"a": 0, "b": 1, "a": 2}, "merges": []}})"),
            "tokenizer.json: model.vocab lists token 'a' twice");
  EXPECT_EQ(with_id(300), "no error");  // a few unused ids are usual

  const auto with_added = [&](const Json& tokens) {
    Json json = good;
    json["added_tokens"] = tokens;
    return json_error(json);
  };
  EXPECT_EQ(with_added(Json::array({added("<x>", 'a')})),
            "tokenizer.json: added_tokens gives token '<x>' the id 97, which 'a' has");
  EXPECT_CONTAINS(with_added(Json::array({added("a", 98)})),
                  "added_tokens[0] gives token 'a' the id 98, but");
  EXPECT_CONTAINS(with_added({added("<x>", 200), added("<y>", 200)}),
                  "the id 200, which '<x>' has");
  EXPECT_CONTAINS(with_added({added("<x>", 200), added("<x>", 201)}), "a second time");
  EXPECT_CONTAINS(with_added(Json::array({added("<x>", -5)})),
                  "added_tokens[0].id is -5, expected 0 to");
  EXPECT_CONTAINS(with_added(Json::array({added("", 200)})), "added_tokens[0] has no content");
  EXPECT_CONTAINS(with_added({{{"id", "7"}, {"content", "<x>"}}}), "added_tokens[0].id is string");
}

TEST(HostileFile, BadMergesAreErrorsThatNameTheField) {
  const auto with_merge = [](const Json& merge) {
    Json json = letter_tokenizer();
    json["model"]["merges"] = Json::array({merge});
    return json_error(json);
  };
  EXPECT_EQ(
      with_merge("a b"),
      "tokenizer.json: model.merges has 'a' + 'b' at 0, which needs token 'ab', but model.vocab "
      "does not have it");
  EXPECT_CONTAINS(with_merge("zz b"), "needs token 'zz'");
  EXPECT_CONTAINS(with_merge("ab"), "model.merges[0] is 'ab'; expected ");
  EXPECT_CONTAINS(with_merge("a b c"), "model.merges[0] is 'a b c'; expected ");
  EXPECT_CONTAINS(with_merge(Json::array({"a"})), "model.merges[0] is an array of 1; expected ");
  EXPECT_CONTAINS(with_merge(7), "model.merges[0] is number; expected ");
}

TEST(HostileFile, WrongTypesAreErrorsThatNameTheField) {
  const auto with = [](const char* pointer, const Json& value) {
    Json json = Json::parse(golden("tok_qwen", "tokenizer.json"));
    json[Json::json_pointer(pointer)] = value;
    return json_error(json);
  };
  EXPECT_CONTAINS(with("/version", "2.0"), "tokenizer.json: version is not 1.0");
  EXPECT_CONTAINS(with("/model", 1), "tokenizer.json: model is number, expected an object");
  EXPECT_CONTAINS(with("/model", nullptr), "tokenizer.json: model.vocab is missing");
  EXPECT_CONTAINS(with("/model/vocab", Json::array()), "model.vocab is array, expected an object");
  EXPECT_CONTAINS(with("/model/vocab", Json::object()), "model.vocab is empty");
  EXPECT_CONTAINS(with("/model/merges", "x"), "model.merges is string, expected an array");
  EXPECT_CONTAINS(with("/model/type", "Unigram"),
                  "model.type is 'Unigram', which is not supported");
  EXPECT_CONTAINS(with("/model/dropout", 0.1), "model.dropout is not supported");
  EXPECT_CONTAINS(with("/model/unk_token", "?!?"), "model.unk_token '?!?' is not in model.vocab");
  EXPECT_CONTAINS(with("/model/ignore_merges", "yes"), "model.ignore_merges is string");
  EXPECT_CONTAINS(with("/model/end_of_word_suffix", "</w>"), "end_of_word_suffix is not supported");
  EXPECT_CONTAINS(with("/normalizer/type", "Precompiled"),
                  "normalizer has type 'Precompiled', which is not supported");
  EXPECT_CONTAINS(with("/normalizer", "NFC"), "normalizer is string, expected an object");
  EXPECT_CONTAINS(with("/pre_tokenizer/pretokenizers/0/type", "Punctuation"),
                  "pre_tokenizer.pretokenizers[0] has type 'Punctuation', which is not supported");
  EXPECT_CONTAINS(with("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "__"}}),
                  "pre_tokenizer.replacement is not one character");
  EXPECT_CONTAINS(
      with("/pre_tokenizer",
           {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "sometimes"}}),
      "pre_tokenizer.prepend_scheme is 'sometimes', expected always, first, never");
  EXPECT_CONTAINS(
      with("/decoder", {{"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "?"}}),
      "decoder.prepend_scheme is '?', expected always, first, never");
  EXPECT_CONTAINS(with("/decoder", {{"type", "Metaspace"}, {"replacement", ""}}),
                  "decoder.replacement is not one character");
  EXPECT_CONTAINS(with("/pre_tokenizer/pretokenizers/0/pattern", Json::object()),
                  "pretokenizers[0].pattern has neither a Regex nor a String");
  EXPECT_CONTAINS(with("/pre_tokenizer/pretokenizers/0/behavior", "Odd"), "behavior is 'Odd'");
  EXPECT_CONTAINS(with("/post_processor/type", "BertProcessing"),
                  "post_processor has type 'BertProcessing', which is not supported");
  EXPECT_CONTAINS(with("/decoder/type", "WordPiece"),
                  "decoder has type 'WordPiece', which is not supported");
  EXPECT_CONTAINS(with("/added_tokens", 1), "added_tokens is number, expected an array");
  EXPECT_CONTAINS(with("/added_tokens/0", 1), "added_tokens[0] is number, expected an object");
}

TEST(HostileFile, MessagesAreOneLine) {
  Json json = letter_tokenizer();
  json["model"]["type"] = "a\nb";
  EXPECT_EQ(json_error(json).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace sinter::runtime
