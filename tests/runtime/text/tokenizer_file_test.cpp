// Files of tokenizers that are damaged or hostile: one line each, which names the field.
#include <fmt/format.h>

#include <ctime>

#include "tests/runtime/text/tokenizer_test.h"

namespace sinter::runtime {
namespace {

TEST(HostileFile, BrokenJsonIsReportedWithItsPosition) {
  EXPECT_EQ(load_error("{\"version\": }"),
            "tokenizer.json: broken JSON at byte 13 of 13; download the file again");
  EXPECT_CONTAINS(load_error(""), "ends within its JSON, after 0 bytes");
  EXPECT_CONTAINS(load_error("{\"a\": \"\xFF\"}"), "broken JSON at byte 8");
  EXPECT_CONTAINS(load_error("[1e999]"), "tokenizer.json: a number before byte 6 is out of range");
  const std::string text = golden("tok_qwen", "tokenizer.json");
  EXPECT_CONTAINS(load_error(text.substr(0, text.size() / 2)), "ends within its JSON, after ");
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
  EXPECT_CONTAINS(with_id(-1), "tokenizer.json: model.vocab gives token 'zz' -1 as its id");
  EXPECT_CONTAINS(with_id(4294967296), "gives token 'zz' 4294967296 as its id");
  EXPECT_CONTAINS(with_id(18446744073709551615u),
                  "gives token 'zz' 18446744073709551615 as its id");
  EXPECT_CONTAINS(with_id(1.5), "gives token 'zz' 1.5 as its id");
  EXPECT_CONTAINS(with_id("1"), "gives token 'zz' a string as its id");
  EXPECT_CONTAINS(with_id(2000000000), "tokenizer.json: model.vocab has 96 tokens but ids up to");
  EXPECT_CONTAINS(with_id(Json::array()), "gives token 'zz' an array as its id");
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
  EXPECT_CONTAINS(with_added({added("<x>", 200), added("<x>", 201)}),
                  "added_tokens[1] gives token '<x>' the id 201, but it has the id 200 already");
  EXPECT_EQ(with_added({added("<x>", 200), added("<x>", 200)}), "no error");
  EXPECT_CONTAINS(with_added(Json::array({added("<x>", -5)})),
                  "added_tokens[0].id is -5, expected 0 to");
  EXPECT_EQ(with_added(Json::array({added("", 200)})), "no error");  // it matches nothing
  EXPECT_CONTAINS(with_added({{{"id", "7"}, {"content", "<x>"}}}),
                  "added_tokens[0].id is a string");
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
  EXPECT_CONTAINS(with_merge(7), "model.merges[0] is a number; expected ");
}

TEST(HostileFile, WrongTypesAreErrorsThatNameTheField) {
  const auto with = [](const char* pointer, const Json& value) {
    Json json = Json::parse(golden("tok_qwen", "tokenizer.json"));
    json[Json::json_pointer(pointer)] = value;
    return json_error(json);
  };
  EXPECT_CONTAINS(with("/version", "2.0"), "tokenizer.json: version is not 1.0");
  EXPECT_CONTAINS(with("/model", 1), "tokenizer.json: model is a number, expected an object");
  EXPECT_CONTAINS(with("/model", nullptr), "tokenizer.json: model.vocab is missing");
  EXPECT_CONTAINS(with("/model/vocab", Json::array()),
                  "model.vocab is an array, expected an object");
  EXPECT_CONTAINS(with("/model/vocab", Json::object()), "model.vocab is empty");
  EXPECT_CONTAINS(with("/model/merges", "x"), "model.merges is a string, expected an array");
  EXPECT_CONTAINS(with("/model/type", "Odd"), "model.type is 'Odd', which is not supported");
  EXPECT_CONTAINS(with("/model/type", "Unigram"),
                  "model.vocab is an object, expected an array of [\"token\", score]");
  EXPECT_CONTAINS(with("/model/dropout", 0.1), "model.dropout is not supported");
  EXPECT_CONTAINS(with("/model/ignore_merges", "yes"), "model.ignore_merges is a string");
  EXPECT_CONTAINS(with("/model/end_of_word_suffix", 1), "model.end_of_word_suffix is a number");
  EXPECT_CONTAINS(with("/model/continuing_subword_prefix", "####"),
                  "where the second part is shorter than continuing_subword_prefix '####'");
  EXPECT_CONTAINS(with("/normalizer/type", "Odd"),
                  "normalizer has type 'Odd', which is not supported");
  EXPECT_CONTAINS(with("/normalizer", "NFC"), "normalizer is a string, expected an object");
  EXPECT_CONTAINS(with("/pre_tokenizer/pretokenizers/0/type", "Odd"),
                  "pre_tokenizer.pretokenizers[0] has type 'Odd', which is not supported");
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
  EXPECT_CONTAINS(with("/post_processor/type", "Odd"),
                  "post_processor has type 'Odd', which is not supported");
  EXPECT_CONTAINS(with("/post_processor/type", "BertProcessing"),
                  "post_processor.cls is missing, expected an array");
  EXPECT_CONTAINS(with("/decoder/type", "Odd"), "decoder has type 'Odd', which is not supported");
  EXPECT_CONTAINS(with("/normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "AAAA"}}),
                  "normalizer.precompiled_charsmap cannot be used: the normalization table");
  EXPECT_CONTAINS(with("/added_tokens", 1), "added_tokens is a number, expected an array");
  EXPECT_CONTAINS(with("/added_tokens/0", 1), "added_tokens[0] is a number, expected an object");
}

TEST(HostileFile, BadPiecesOfAUnigramModelAreErrorsThatNameThem) {
  const auto with = [](const char* vocab, const char* more = "") {
    return load_error(
        fmt::format(R"({{"model": {{"type": "Unigram", "vocab": {}{}}}}})", vocab, more));
  };
  EXPECT_EQ(with(R"([["a", 0], ["b", -1.5]])", R"(, "unk_id": 0)"), "no error");
  for (const char* bad : {R"(7)", R"("a")", R"(["b"])", R"([1, "b"])", R"(["b", 1, 2])", R"({})",
                          R"(["b", null])", R"([["b", 1]])"}) {
    EXPECT_EQ(with(fmt::format(R"([["a", 0], {}])", bad).c_str()),
              "tokenizer.json: model.vocab[1] is not [\"token\", score]")
        << bad;
  }
  EXPECT_CONTAINS(with(R"([["a", 0]])", R"(, "unk_id": 1)"), "model.unk_id is 1, expected 0 to 0");
  EXPECT_CONTAINS(with("{}"), "model.vocab is an object, expected an array");
  EXPECT_CONTAINS(with("7"), "model.vocab is a number, expected an array");
}

// What nobody reads is not kept, and what is read is counted: a file of N bytes must not take a
// hundred times N.
TEST(HostileFile, ManyValuesAreSkippedOrRefused) {
  std::string many = "[";
  for (int i = 0; i < 1100000; ++i) many += "[],";
  many += "0]";
  Json json = letter_tokenizer();
  json["unknown"] = 1;
  json["decoder"] = {{"type", "Fuse"}, {"extra", 2}};
  std::string text = json.dump();
  const auto put = [&](const std::string& name, const std::string& value) {
    std::string changed = text;
    const size_t at = changed.find(name) + name.size();
    return changed.replace(at, 1, value);
  };
  EXPECT_EQ(load_error(put("\"unknown\":", many)), "no error");
  EXPECT_EQ(load_error(put("\"extra\":", many)),
            "tokenizer.json: has more than 1048576 values beside its vocabulary");
}

TEST(HostileFile, OverlappingTokensEndInAnErrorAndNotInHours) {
  // Tokens of all lengths: every place of the text begins all of them.
  std::string run;
  Json pieces = Json::array({{"<unk>", 0}}), vocab = {{"[UNK]", 0}};
  for (int i = 1; i <= 1200; ++i) {
    run += 'a';
    pieces.push_back({run, -1});
    vocab["##" + run + "b"] = i;
  }
  vocab["a"] = 1201;
  vocab["##a"] = 1202;
  const std::string text(100000, 'a');
  const Json unigram = {{"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", pieces}}}};
  const Json word_piece = {
      {"model", {{"type", "WordPiece"}, {"max_input_chars_per_word", 2000000}, {"vocab", vocab}}}};
  Json added_tokens = letter_tokenizer();
  added_tokens["added_tokens"] = {added(run + "b", 5000)};
  for (const Json& json : {unigram, word_piece, added_tokens}) {
    const auto ids = must_load(json.dump()).encode(text, false);
    ASSERT_FALSE(ids.ok());
    EXPECT_CONTAINS(ids.error().message, "too many tokens of the tokenizer's vocabulary overlap");
  }
}

TEST(HostileFile, ReplaceStepsOfADecoderCannotBlowTextUp) {
  Json json = letter_tokenizer();
  Json steps = Json::array();
  const auto replace = [](const Json& pattern, const std::string& content) {
    return Json{{"type", "Replace"}, {"pattern", pattern}, {"content", content}};
  };
  for (int i = 0; i < 6; ++i) steps.push_back(replace({{"String", "a"}}, "aa"));
  json["decoder"] = {{"type", "Sequence"}, {"decoders", steps}};
  EXPECT_EQ(json_error(json), "no error");
  json["decoder"]["decoders"].push_back(replace({{"Regex", "a"}}, "a"));
  EXPECT_EQ(json_error(json),
            "tokenizer.json: decoder.decoders[6] makes text more than 64 times longer");
}

TEST(HostileFile, TextOfLongTokensHasABound) {
  Json json = letter_tokenizer();
  json["model"]["vocab"][std::string(1 << 20, 'x')] = 500;
  json["decoder"] = {{"type", "Fuse"}};
  const Tokenizer tokenizer = must_load(json.dump());
  EXPECT_EQ(tokenizer.decode(Ids(64, 500), false)->size(), size_t{64} << 20);
  const auto text = tokenizer.decode(Ids(66, 500), false);
  ASSERT_FALSE(text.ok());
  EXPECT_CONTAINS(text.error().message, "the text of 65 tokens is longer than 67109384 bytes");
  // The next text has a bound of its own.
  StreamingDecoder decoder(tokenizer, false);
  for (int i = 0; i < 66; ++i) (void)decoder.push(500);
  EXPECT_FALSE(decoder.status().ok());
  (void)decoder.flush();
  EXPECT_FALSE(decoder.status().ok());
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_TRUE(decoder.status().ok());
}

TEST(HostileFile, StepsOfADecoderShareABudget) {
  Json json = letter_tokenizer();
  json["model"]["vocab"][" ." + std::string(2000, 'x')] = 500;
  json["decoder"] = {{"type", "Sequence"},
                     {"decoders", Json(60, Json{{"type", "WordPiece"}, {"prefix", "##"}})}};
  const auto text = must_load(json.dump()).decode(Ids(10000, 500), false);
  ASSERT_FALSE(text.ok());
  EXPECT_CONTAINS(text.error().message, "the tokenizer's decoder needs too much work");
}

// Pairs that have one side in common do not crowd the table of merges.
TEST(HostileFile, AWordOfOneLetterIsMergedSoon) {
  Json json = letter_tokenizer();
  Json& model = json["model"];
  std::string longer = "aa";
  for (int id = 200; id < 2200; ++id, longer += 'a') {
    model["vocab"][longer] = id;
    model["merges"].insert(model["merges"].begin(), Json{longer.substr(1), "a"});
  }
  const Tokenizer tokenizer = must_load(json.dump());
  const std::clock_t begin = std::clock();
  const auto ids = tokenizer.encode(std::string(500000, 'a'), false);
  ASSERT_TRUE(ids.ok()) << ids.error().message;
  EXPECT_LT(ids->size(), 500u);
  EXPECT_LT(static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, 1.5);
}

TEST(HostileFile, MessagesAreOneLine) {
  Json json = letter_tokenizer();
  json["model"]["type"] = "a\nb";
  EXPECT_EQ(json_error(json).find('\n'), std::string::npos);
}

}  // namespace
}  // namespace sinter::runtime
